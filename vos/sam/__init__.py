"""SAM behind two calls, for frames of any size.

In: pictures, (H, W, 3) uint8 RGB, and prompts in frame pixels. Out: features, (C, h, w) of a
frame, and mask logits with SAM's own estimate of their quality. Model pixels stay in here.

- :mod:`~vos.sam.load`: a model's name to a :class:`~vos.sam.model.SamModel` that is ready to run.
- :mod:`~vos.sam.model`: the two calls, ``encode`` (pictures to features) and ``decode`` (features
  and prompts to masks).
- :mod:`~vos.sam.geometry`: frame pixels, model pixels, feature cells, and the ways between them.
- :mod:`~vos.sam.matching`: what cells are compared by, SAM's features or another model's too.
- :mod:`~vos.sam.guidance`: PerSAM's guidance of the decoder, as hooks.
- :mod:`~vos.sam.devices`, :mod:`~vos.sam.cores`: what there is to run on.
- ``weights``: files known by name and hash, fetched, read and checked.
- ``networks``: what the weights are put into.
- ``fast``: the same arithmetic as the networks', in another order.
"""
