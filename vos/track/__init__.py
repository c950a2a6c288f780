"""Tracking: the frames of a video and reference masks in, each frame's masks out.

Several wings do that, and ``method`` chooses between them. All take frames of one size, in either
direction of time, whom to track in which of them (``passes``), and what is known so far; for each
frame they yield its ``FrameMasks`` and what is known after it, from which the video can be gone on
with.

- ``memory``, the default, encodes a window around each object and compares it with remembered cells
  (docs/tracking.md).
- ``published`` is PerSAM and PerSAM-F (arXiv 2305.03048), which encode whole frames. It also finds
  objects in single pictures, and segments what a user pointed out (``hints``).
- ``cutie`` and ``sam2`` are networks of others, by their own packages. ``groups`` does with either
  what a method has to: objects start anywhere, go in either direction, and the state does not grow.
  ``registry`` says where their weights come from.

All let objects compete for pixels in the same way (``masks``), and encode as many pictures at once
as fit into memory (``batches``).
"""
