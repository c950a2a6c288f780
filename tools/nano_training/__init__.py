"""Training of the embedded model; see ``tools/train_nano.py``."""
