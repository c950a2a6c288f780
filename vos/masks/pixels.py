"""What the pixels of a picture mean when it is a mask."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import MaskError
from vos.masks.png import DAVIS_PALETTE
from vos.masks.values import MAIN_DISTANCE, Values
from vos.records import MAX_OBJECT_ID, Labels

_log = logging.getLogger("vos")

Rgb = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

Painted = tuple[Labels, Mapping[int, Rgb]]
"""A label map, and the colours in which its objects were painted, as far as they mean anything."""

_VOID: Final = 255
_WHITE: Final = 255
_PALETTE_GREYS: Final = DAVIS_PALETTE[np.ptp(DAVIS_PALETTE, axis=1) == 0, 0]
_MIN_BAND_SHARE: Final = 0.3  # of the contacts between ids; label maps have next to none
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
    values = Values.of(grey[..., None])
    is_one_object = not is_lossy and values.is_one_bright_area()
    if values.is_label_map(is_lossy=is_lossy) and not is_one_object:
        return labels_from_ids(grey)
    if grey.max() > _WHITE:
        values = Values.of(grey[..., None] >> 8)
    if is_one_object:
        brightest = values.colours[-1, 0]
        return labels_from_ids(values.nearest(np.array([[0], [brightest]])) * brightest)
    mains = values.main_colours()[:, 0]
    between = mains[(mains > MAIN_DISTANCE) & (mains < _WHITE - MAIN_DISTANCE)]
    levels = np.union1d(between, [0, _WHITE])
    return labels_from_ids(levels[values.nearest(levels[:, None])])


def labels_from_colours(rgb: NDArray[np.uint8], *, is_lossy: bool) -> Painted:
    """Give every colour but black an id: DAVIS' for a palette colour, else the lowest free one.

    A grey picture is a map of ids or one white object, unless all its greys are DAVIS' colours.

    Args:
        rgb: (H, W, 3) uint8 RGB.
        is_lossy: Whether the values went through lossy compression, so that none is exact.

    Returns:
        (H, W) uint8 with ids 0 to 254; free ids are given in ascending order of (R, G, B). And
        the colour of each id, unless the picture is grey.

    Raises:
        MaskError: the picture is no mask, or has no object or too many.
    """
    is_grey = bool((rgb == rgb[..., :1]).all())
    if is_grey and np.setdiff1d(rgb[..., 0], _PALETTE_GREYS).size:
        return labels_from_grey(rgb[..., 0], is_lossy=is_lossy), {}
    values = Values.of(rgb)
    if values.is_label_map(is_lossy=is_lossy):
        kept = values.without_edges_and_specks(DAVIS_PALETTE)
        if len(kept) == len(values.colours):
            return _painted(kept, values.index, tolerance=0)
        return _painted(kept, values.nearest(kept), tolerance=0)
    mains = values.main_colours()
    if len(mains) < 2:
        raise MaskError(
            f"it has {len(values.colours)} colours, but no object large enough to tell its colour "
            "from softened edges"
        )
    return _painted(mains, values.nearest(mains), tolerance=_PALETTE_ERROR)


def labels_from_palette(indices: NDArray[np.int64], palette: NDArray[np.int64]) -> Painted | None:
    """Take a palette picture's indices as ids, unless its colours are what counts.

    They are ids where each used colour stands at its index of DAVIS' palette, and in other
    palettes where black, if it is used, is index 0. Colours count where all used ones are DAVIS',
    but at other indices, as after a program has reduced the palette, and where there are soft
    edges. A softened mask that was quantised and then given DAVIS' palette has lost its colours:
    there the values at the edges go to the nearest area, and background is what has most of the
    picture's border.

    Args:
        indices: (H, W) int64.
        palette: (M, 3) int64 RGB.

    Returns:
        (H, W) uint8 with ids 0 to 254 and the colours of the ids; None where colours count.

    Raises:
        MaskError: there is no object.
    """
    used = np.unique(indices)
    palette = np.pad(palette, ((0, 256 - len(palette)), (0, 0)))
    if (palette[used] == DAVIS_PALETTE[used]).all():
        values = Values.of(indices[..., None])
        if values.share_of_bands < _MIN_BAND_SHARE:
            return labels_from_ids(indices), {}
        return _labels_from_areas(values), {}
    davis = {tuple(colour) for colour in DAVIS_PALETTE.tolist()}
    if all(tuple(colour) in davis for colour in palette[used].tolist()):
        return None
    (black,) = np.nonzero(palette.max(axis=1) == 0)
    if 0 not in black and np.isin(used, black).any():
        return None
    values = Values.of(palette.astype(np.uint8)[indices])
    if not values.is_label_map(is_lossy=False) or values.are_edges.any():
        return None
    colours = {index: _rgb(palette[index]) for index in used.tolist() if np.ptp(palette[index])}
    return labels_from_ids(indices), colours


def _labels_from_areas(values: Values) -> Labels:
    """Give every pixel the id of the area nearest to it; see :func:`labels_from_palette`."""
    from scipy.ndimage import distance_transform_edt

    ids = values.colours[:, 0].copy()
    are_areas = values.are_solid & ~values.are_bands
    num_bands = np.count_nonzero(~are_areas)
    is_edge = ~are_areas[values.index]
    ys, xs = distance_transform_edt(is_edge, return_distances=False, return_indices=True)
    areas = values.index[ys, xs]
    border = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    background = np.bincount(border).argmax()
    if num_bands < 2 and ids[background] == 0:
        _log.warning(
            "mask: object %d is a narrow band between others; if the mask was softened, paint it "
            "with hard edges",
            ids[values.are_bands].max(),
        )
        return labels_from_ids(ids[values.index])
    _log.warning(
        "mask: it looks like a softened mask that was quantised: %d of its %d values lie at edges "
        "only and went to the nearest area, and index %d, which has most of the border, is "
        "background; check the objects",
        num_bands,
        len(ids),
        ids[background],
    )
    if ids[background] != 0:
        # What stood at 0 is an object.
        ids[ids == 0] = np.setdiff1d(np.arange(1, _VOID), ids[are_areas])[0]
        ids[background] = 0
    return labels_from_ids(ids[areas])


def _painted(colours: NDArray[np.int64], index: NDArray[np.int64], *, tolerance: int) -> Painted:
    """Number (N, 3) colours, of which every pixel has one."""
    ids = _ids_of_colours(colours, tolerance=tolerance)
    colour_of = {int(object_id): _rgb(rgb) for object_id, rgb in zip(ids, colours, strict=True)}
    if _VOID in colour_of and ids.max(initial=0, where=ids < _VOID) == 0:
        colour_of[1] = colour_of[_VOID]
    return labels_from_ids(ids[index]), colour_of


def _rgb(colour: NDArray[np.int64]) -> Rgb:
    red, green, blue = colour.tolist()
    return red, green, blue


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
