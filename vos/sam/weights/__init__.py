"""Weights files: which there are, where they are, and what is in them.

In: a model's name or a file of the user's. Out: tensors by name, all of them or an error.
``registry`` knows the models, ``download`` finds or fetches a file and checks its hash, and
``checkpoints`` reads it without running anything in it. ``nano.safetensors`` is embedded here.
"""
