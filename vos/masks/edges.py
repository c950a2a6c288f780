"""Soft edges of masks: the opacity of pixels near an outline, in a band a few pixels wide.

Where nothing but the mask is known, the opacity follows from the distance to its outline. A tracker
knows more (``vos.track.edges``). Either way opacity falls from 1 to 0 over a pixel and a half,
agrees with the label map, and of all objects at a pixel makes 1 at most.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.errors import OutputError
from vos.masks.boxes import mask_slices
from vos.records import Labels, SoftEdges

BAND_PX: Final = 3.0  # from the outline to either side; beyond it pixels are in or out
NEAR: Final = np.ones((2 * int(BAND_PX) + 1,) * 2, np.uint8)
"""What is near a pixel, as a kernel of OpenCV."""
RAMP_PX: Final = 1.5  # over which opacity falls from 1 to 0
_SIGMA_PX: Final = 1.0
_REACH_PX: Final = 8  # around an object's box: the band, and what its smoothing sees
_OPAQUE: Final = 255
_LEAST_IN: Final = 128
_MOST_OUT: Final = 127
_BYTES_PER_ENTRY: Final = 6
_HEAD_BYTES: Final = 4096
_BROKEN: Final = (
    *(OSError, ValueError, KeyError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


def soft_alpha(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give a mask an edge that fades by the distance to its outline, smoothed.

    It follows the outline and knows nothing of hair or blur in the picture. Cut at one half it is
    the mask again.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) float32 in [0, 1].
    """
    if mask.all() or not mask.any():
        return mask.astype(np.float32)
    alpha = _faded(signed_distance_px(mask))
    least_in, most_out = np.float32(_LEAST_IN / _OPAQUE), np.float32(_MOST_OUT / _OPAQUE)
    edge = np.where(mask, np.maximum(alpha, least_in), np.minimum(alpha, most_out))
    return np.asarray(edge, np.float32)


def signed_distance_px(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give the distance of pixels' centres from the outline of a mask.

    Args:
        mask: (H, W) bool, neither empty nor full.

    Returns:
        (H, W) float32, positive inside; the nearest pixels are half a pixel away.
    """
    inside = mask.astype(np.uint8)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(mask, within - 0.5, 0.5 - outside).astype(np.float32)


def _faded(distance_px: NDArray[np.float32]) -> NDArray[np.float32]:
    # What is beyond the band counts no further, so that far parts do not pull at the edge.
    near = distance_px.clip(-BAND_PX, BAND_PX)
    smooth = cv2.GaussianBlur(near, (0, 0), _SIGMA_PX, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.clip(0.5 + smooth / RAMP_PX, 0, 1), np.float32)


def match_edges(edges: SoftEdges | None, labels: Labels) -> SoftEdges:
    """Make soft edges agree with a label map.

    Opacity is at least 128 where the label map has the object, and at most 127 elsewhere; it goes
    to 255 and 0 towards the ends of the band. All objects at a pixel make at most 255 together:
    the one that has the pixel comes first, and where no background is near they make all of it.
    Pixels of the band of which nothing is known get the opacity of :func:`soft_alpha`; what is
    outside of it is left out.

    Args:
        edges: What is known; None if nothing is.
        labels: (H, W) label map.

    Returns:
        Every pixel of the band of every object, by object and pixel. Matching it again changes
        nothing.
    """
    edges = edges or SoftEdges.nothing()
    width = labels.shape[1]
    parts = []
    for object_id in np.unique(labels[labels > 0]).tolist():
        slices = mask_slices(labels == object_id)
        if slices is None:
            continue
        window = _grown(slices, labels.shape)
        mask = labels[window] == object_id
        if mask.all():
            continue
        distance_px = signed_distance_px(mask)
        opacity = _OPAQUE * _faded(distance_px)
        known = edges.only([object_id])
        rows, columns = np.divmod(known.pixels, width)
        rows, columns = rows - window[0].start, columns - window[1].start
        is_in = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        opacity[rows[is_in], columns[is_in]] = known.alpha[is_in]
        is_near = np.abs(distance_px) < BAND_PX
        alpha = _limited(opacity[is_near], mask[is_near], distance_px[is_near])
        rows, columns = np.nonzero(is_near)
        pixels = (rows + window[0].start) * width + columns + window[1].start
        parts.append(SoftEdges(np.full(len(pixels), object_id, np.uint8), pixels, alpha))
    return _shared(SoftEdges.joined(parts), labels)


def _limited(
    opacity: NDArray[np.float32], is_in: NDArray[np.bool_], distance_px: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Keep (N,) opacities of 255 on their side of one half, closer to it the nearer the outline."""
    least = np.where(is_in, np.maximum(_LEAST_IN, _OPAQUE * distance_px / BAND_PX), 0)
    most = np.where(is_in, _OPAQUE, np.minimum(_MOST_OUT, _OPAQUE * (1 + distance_px / BAND_PX)))
    return np.rint(np.clip(opacity, np.ceil(least), np.floor(most))).astype(np.uint8)


def _shared(edges: SoftEdges, labels: Labels) -> SoftEdges:
    """Give objects what the owner of a pixel leaves of it, and owners all that others leave.

    The latter far from the background, so that none shows through where objects meet.
    """
    pixels, index = np.unique(edges.pixels, return_inverse=True)
    owners = labels.ravel()[pixels]
    is_own = owners[index] == edges.object_ids
    left = np.where(owners > 0, 0, _OPAQUE)
    left[index[is_own]] = _OPAQUE - edges.alpha[is_own].astype(np.int64)
    wanted = np.bincount(index[~is_own], edges.alpha[~is_own], minlength=len(pixels))
    share = np.minimum(1, left / np.maximum(wanted, 1))
    others = np.where(is_own, 0, np.floor(edges.alpha * share[index] + 1e-9))
    total_of_others = np.bincount(index, others, minlength=len(pixels))
    is_inner = cv2.erode((labels > 0).astype(np.uint8), NEAR).ravel()[edges.pixels] > 0
    own = np.where(is_inner, _OPAQUE - total_of_others[index], edges.alpha)
    alpha = np.where(is_own, own, others).astype(np.uint8)
    return SoftEdges(edges.object_ids, edges.pixels, alpha)


def alpha_of(edges: SoftEdges, labels: Labels, object_id: int | None = None) -> NDArray[np.uint8]:
    """Give the opacity of one object, or of all together.

    Args:
        edges: From :func:`match_edges`.
        labels: (H, W) the same label map.
        object_id: The object; None is all.

    Returns:
        (H, W) uint8, at least 128 exactly where the label map has the object, or any.
    """
    mask = labels > 0 if object_id is None else labels == object_id
    alpha = np.where(mask, np.uint8(_OPAQUE), np.uint8(0))
    if object_id is not None:
        known = edges.only([object_id])
        alpha.ravel()[known.pixels] = known.alpha
        return alpha
    if not mask.any() or mask.all():
        return alpha
    pixels, index = np.unique(edges.pixels, return_inverse=True)
    opacity = np.bincount(index, edges.alpha, minlength=len(pixels)).astype(np.float32)
    # Where objects meet there is no outline of what they are together.
    slices = mask_slices(mask)
    distance_px = np.full(mask.shape, np.inf, np.float32)
    if slices is not None and not mask[window := _grown(slices, mask.shape)].all():
        distance_px[window] = signed_distance_px(mask[window])
    is_in, distance_px = mask.ravel()[pixels], distance_px.ravel()[pixels]
    alpha.ravel()[pixels] = _limited(opacity, is_in, distance_px)
    return alpha


def _grown(slices: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Grow a window of a frame by what edges need to see around it."""
    rows, columns = (
        slice(max(0, each.start - _REACH_PX), min(side, each.stop + _REACH_PX))
        for each, side in zip(slices, shape, strict=True)
    )
    return rows, columns


def encode_edges(edges: SoftEdges) -> bytes:
    """Encode edges as a NumPy archive; the same edges give the same bytes.

    It holds ``object_ids`` (N,) uint8, ``alpha`` (N,) uint8 and ``steps`` (N,) int32, the
    differences of the pixels, the first one from 0: they are mostly 1, which takes little room.
    """
    buffer = io.BytesIO()
    steps = np.diff(edges.pixels, prepend=0).astype(np.int32)
    np.savez_compressed(buffer, object_ids=edges.object_ids, steps=steps, alpha=edges.alpha)
    return buffer.getvalue()


def read_edges(path: Path, labels: Labels) -> SoftEdges:
    """Read edges, and match them to their label map.

    Args:
        path: What :func:`encode_edges` made.
        labels: (H, W) label map of the frame.

    Raises:
        OutputError: the file is gone, damaged, or of a frame of another size.
    """
    most_bytes = _HEAD_BYTES + _BYTES_PER_ENTRY * labels.size * max(1, int(labels.max()))
    try:
        with zipfile.ZipFile(path) as archive:  # which may have been made to fill the memory
            if sum(each.file_size for each in archive.infolist()) > most_bytes:
                raise ValueError("it is too large for its frame")
        with np.load(path, allow_pickle=False) as arrays:
            columns = [arrays[name] for name in ("object_ids", "steps", "alpha")]
        if [each.dtype for each in columns] != [np.uint8, np.int32, np.uint8]:
            raise ValueError("its arrays are of other kinds")
        object_ids, steps, alpha = columns
        pixels = np.cumsum(steps, dtype=np.int64)
        if not object_ids.shape == pixels.shape == alpha.shape == (len(pixels),):
            raise ValueError("its arrays differ in length")
        if len(pixels) and not (pixels.min() >= 0 and pixels.max() < labels.size):
            raise ValueError("it names pixels outside of the frame")
    except FileNotFoundError as error:
        raise OutputError(f"the soft edges {path} are gone; run again with --overwrite") from error
    except _BROKEN as error:
        raise OutputError(
            f"cannot read the soft edges {path}: {error}; run again with --overwrite"
        ) from error
    return match_edges(SoftEdges(object_ids, pixels, alpha), labels)
