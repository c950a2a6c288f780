"""The networks, as modules whose state dict is that of the published weights.

In: a name of the registry. Out: segment_anything's ``Sam`` in evaluation mode, without weights,
around one of three image encoders: its own ViT (``architectures``), MobileSAM's TinyViT
(``tiny_vit``) or the embedded model's convolutions (``nano``). ``batch_norm`` folds norms into
convolutions once weights are loaded; ``segment_anything_modules`` is the package's own code.

Of the package transformers, which knows the names in its own files and so takes the weights at once
(``transformers_models``): HQ-SAM (``sam_hq``), and DINOv2 (``dinov2``), which is no SAM but gives
features that cells are compared by.
"""
