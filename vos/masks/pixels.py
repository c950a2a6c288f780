"""What the pixels of a picture mean when it is a mask.

A pixel is *solid* when its 3 x 3 neighbourhood has one value. In a label map most values come in
solid areas. Where they do not, edges were softened by antialiasing, scaling or lossy compression:
every pixel then goes to the nearest *main* value, one that comes in solid areas and is far from
every more frequent main value.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import MaskError
from vos.masks.png import DAVIS_PALETTE
from vos.records import MAX_OBJECT_ID, Labels

_log = logging.getLogger("vos")

_VOID: Final = 255
_WHITE: Final = 255
_PALETTE_GREYS: Final = DAVIS_PALETTE[np.ptp(DAVIS_PALETTE, axis=1) == 0, 0]
_MIN_SOLID_SHARE: Final = 1 / 8  # of a value's pixels; lines of 3 pixels' width reach 1/3
_MIN_SOLID_PX: Final = 4  # of a main value; keeps specks of compression noise out
_MAIN_DISTANCE: Final = 48  # levels of 255: main values differ by more, noise moves by less
_MIN_FLAT_SHARE: Final = 0.5  # of all pixels, solid in any value; a photo has far fewer
_MAX_MIXED_SHARE: Final = 0.25  # of all pixels, far from every main value
_MAX_COLOURS: Final = 1 << 16  # a photo has more, and telling its main ones would take long
_PALETTE_ERROR: Final = 8  # levels of 255 by which compression moves a flat palette colour


def labels_from_ids(ids: NDArray[np.generic]) -> Labels:
    """Take numbers as object ids; 0 and 255 alone are one object, else 255 is void.

    Args:
        ids: (H, W) bool or integer.

    Returns:
        (H, W) uint8 with ids 0 to 254.

    Raises:
        MaskError: an id is negative or above 255, or there is no object.
    """
    lowest, highest = int(ids.min()), int(ids.max())
    if lowest < 0 or highest > _VOID:
        wrong = lowest if lowest < 0 else highest
        raise MaskError(f"object ids must be within 0..{MAX_OBJECT_ID}, got {wrong}")
    labels = ids.astype(np.uint8)
    if highest == _VOID:
        is_void = labels == _VOID
        if np.any((labels > 0) & ~is_void):
            labels[is_void] = 0
            _log.warning("mask: %d void pixels (255) count as background", is_void.sum())
        else:
            labels[is_void] = 1
    if not labels.any():
        raise MaskError("it holds no object: every pixel is background (0, black or transparent)")
    return labels


def labels_from_grey(grey: NDArray[np.integer], *, is_lossy: bool) -> Labels:
    """Tell a map of ids from a softened mask of one white object.

    Args:
        grey: (H, W) integer grey values of up to 16 bits.
        is_lossy: Whether the values went through lossy compression, so that none is an id.

    Returns:
        (H, W) uint8 with ids 0 to 254.

    Raises:
        MaskError: the picture is no mask, an id is out of range, or there is no object.
    """
    if grey.max() > _WHITE and not np.any(grey % 257):
        grey = grey // 257  # 8 bits spread over 16
    values = _Values.of(grey[..., None])
    if values.is_label_map(is_lossy=is_lossy):
        return labels_from_ids(grey)
    if grey.max() > _WHITE:
        values = _Values.of(grey[..., None] >> 8)
    mains = values.main_colours()[:, 0]
    between = mains[(mains > _MAIN_DISTANCE) & (mains < _WHITE - _MAIN_DISTANCE)]
    levels = np.union1d(between, [0, _WHITE])
    return labels_from_ids(levels[values.nearest(levels[:, None])])


def labels_from_colours(rgb: NDArray[np.uint8], *, is_lossy: bool) -> Labels:
    """Give every colour but black an id: DAVIS' for a palette colour, else the lowest free one.

    A grey picture is a map of ids or one white object, unless all its greys are DAVIS' colours.

    Args:
        rgb: (H, W, 3) uint8 RGB.
        is_lossy: Whether the values went through lossy compression, so that none is exact.

    Returns:
        (H, W) uint8 with ids 0 to 254; free ids are given in ascending order of (R, G, B).

    Raises:
        MaskError: the picture is no mask, or has no object or too many.
    """
    is_grey = bool((rgb == rgb[..., :1]).all())
    if is_grey and np.setdiff1d(rgb[..., 0], _PALETTE_GREYS).size:
        return labels_from_grey(rgb[..., 0], is_lossy=is_lossy)
    values = _Values.of(rgb)
    if values.is_label_map(is_lossy=is_lossy):
        return labels_from_ids(_ids_of_colours(values.colours, tolerance=0)[values.index])
    mains = values.main_colours()
    if len(mains) < 2:
        raise MaskError(
            f"it has {len(values.colours)} colours, but no object large enough to tell its colour "
            "from softened edges"
        )
    ids = _ids_of_colours(mains, tolerance=_PALETTE_ERROR)
    return labels_from_ids(ids[values.nearest(mains)])


def is_label_map(values: NDArray[np.integer]) -> bool:
    """Tell whether the values of an (H, W) picture of up to 16 bits come in solid areas."""
    return _Values.of(values[..., None]).is_label_map(is_lossy=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Values:
    """The N different values of a picture.

    Attributes:
        colours: (N, c) int64, ascending; c is 1 for grey and 3 for RGB.
        index: (H, W) which of them a pixel has.
        counts_px: (N,) pixels of each value.
        solids_px: (N,) solid pixels of each value.
    """

    colours: NDArray[np.int64]
    index: NDArray[np.int64]
    counts_px: NDArray[np.int64]
    solids_px: NDArray[np.int64]

    @classmethod
    def of(cls, pixels: NDArray[np.integer]) -> _Values:
        """Count the values of an (H, W, c) picture of up to 16 bits."""
        codes = pixels[..., 0].astype(np.int64)
        for channel in range(1, pixels.shape[2]):
            codes = codes << 16 | pixels[..., channel]
        values, index, counts_px = np.unique(codes, return_inverse=True, return_counts=True)
        index = index.reshape(codes.shape)  # numpy 1 gives it flat
        shifts = 16 * np.arange(pixels.shape[2])[::-1]
        same_x = codes[:, 1:] == codes[:, :-1]
        same_y = codes[1:] == codes[:-1]
        rows = same_x[:, 1:] & same_x[:, :-1]
        is_solid = rows[2:] & rows[1:-1] & rows[:-2] & same_y[1:, 1:-1] & same_y[:-1, 1:-1]
        return cls(
            colours=values[:, None] >> shifts & 0xFFFF,
            index=index,
            counts_px=counts_px,
            solids_px=np.bincount(index[1:-1, 1:-1][is_solid], minlength=len(values)),
        )

    @property
    def _are_solid(self) -> NDArray[np.bool_]:
        return (self.solids_px > 0) & (self.solids_px >= _MIN_SOLID_SHARE * self.counts_px)

    def is_label_map(self, *, is_lossy: bool) -> bool:
        """Tell whether the values can be taken as they are."""
        num_values = len(self.colours)
        return num_values <= 2 or (not is_lossy and 2 * self._are_solid.sum() >= num_values)

    def main_colours(self) -> NDArray[np.int64]:
        """Give the (M, c) main values, the most frequent one first.

        Raises:
            MaskError: too little of the picture is flat for a mask.
        """
        flat_share = self.solids_px.sum() / self.counts_px.sum()
        if len(self.colours) > _MAX_COLOURS or flat_share < _MIN_FLAT_SHARE:
            raise MaskError(
                f"it looks like a photo, with {len(self.colours)} colours and only "
                f"{flat_share:.0%} of it in areas of one colour; a mask has one flat colour (or "
                "grey value) for each object"
            )
        candidates = np.flatnonzero(self._are_solid & (self.solids_px >= _MIN_SOLID_PX))
        mains: list[NDArray[np.int64]] = []
        by_count = np.argsort(-self.counts_px[candidates], kind="stable")
        for colour in self.colours[candidates[by_count]]:
            if all(np.abs(colour - main).max() > _MAIN_DISTANCE for main in mains):
                mains.append(colour)
        return np.array(mains).reshape(-1, self.colours.shape[1])

    def nearest(self, mains: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give every pixel the index of the main value nearest to it, (H, W).

        Raises:
            MaskError: too many pixels are far from every main value.
        """
        # One main value at a time: a distance matrix of all would be large.
        nearest = np.zeros(len(self.colours), dtype=np.int64)
        best = np.full(len(self.colours), np.iinfo(np.int64).max)
        is_mixed = np.ones(len(self.colours), dtype=bool)
        for number, main in enumerate(mains):
            difference = self.colours - main
            squared = (difference**2).sum(axis=1)
            nearest[squared < best] = number
            best = np.minimum(best, squared)
            is_mixed &= np.abs(difference).max(axis=1) > _MAIN_DISTANCE
        num_px = self.counts_px.sum()
        mixed_share = self.counts_px[is_mixed].sum() / num_px
        if mixed_share > _MAX_MIXED_SHARE:
            raise MaskError(
                f"{mixed_share:.0%} of its pixels have none of its {len(mains)} main colours; a "
                "mask has one flat colour (or grey value) for each object"
            )
        _log.warning(
            "mask: soft edges; %d of %d pixels were given to the nearest of %d main colours",
            self.counts_px[best > 0].sum(),
            num_px,
            len(mains),
        )
        return nearest[self.index]


def _ids_of_colours(colours: NDArray[np.int64], *, tolerance: int) -> NDArray[np.int64]:
    """Number (N, 3) colours: black 0, DAVIS' colours as there, the others in ascending order."""
    ids = np.full(len(colours), -1, dtype=np.int64)
    for row, colour in enumerate(colours):
        error = np.abs(DAVIS_PALETTE - colour).max(axis=1)
        if error.min() <= tolerance:
            ids[row] = error.argmin()
    free = np.setdiff1d(np.arange(1, _VOID), ids)
    others = np.flatnonzero(ids < 0)
    if len(others) > len(free):
        raise MaskError(
            f"it holds {len(colours)} colours; at most {MAX_OBJECT_ID} objects are legal"
        )
    ascending = others[np.lexsort(colours[others].T[::-1])]
    ids[ascending] = free[: len(others)]
    return ids
