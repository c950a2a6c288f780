"""Masks: reading what people have, writing what DAVIS reads, and boxes around them.

In: pictures and arrays as people paint them. Out: label maps, (H, W) uint8 with 0 for background
and ids 1 to 254, and the colours of their objects; palette PNGs; boxes in frame pixels.
"""

from vos.masks.boxes import grow_box_xyxy, mask_box_xyxy
from vos.masks.colours import OBJECT_COLOURS
from vos.masks.png import DAVIS_PALETTE, encode_label_png, read_label_png, write_label_png
from vos.masks.reference import (
    PaintedMask,
    mask_from_array,
    match_frame,
    object_ids,
    read_mask,
    read_painted_mask,
)

__all__ = [
    "DAVIS_PALETTE",
    "OBJECT_COLOURS",
    "PaintedMask",
    "encode_label_png",
    "grow_box_xyxy",
    "mask_box_xyxy",
    "mask_from_array",
    "match_frame",
    "object_ids",
    "read_label_png",
    "read_mask",
    "read_painted_mask",
    "write_label_png",
]
