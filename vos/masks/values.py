"""The different values of a picture that may be a mask: which come in areas, which at edges only.

A pixel is *solid* when its 3 x 3 neighbourhood has one value. In a label map most values come in
solid areas. Antialiasing, scaling and lossy compression leave values that do not, or in narrow
bands only: *edges*, which are mixtures of the values on both sides.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vos.errors import MaskError

_log = logging.getLogger("vos")

_MIN_SOLID_SHARE: Final = 1 / 8  # of a value's pixels; lines of 3 pixels' width reach 1/3
_MIN_SOLID_PX: Final = 4  # of a main value; keeps specks of compression noise out
_MAX_NEIGHBOURS: Final = 512  # values; where there are more, most come in no areas
_MIN_CONTACT_SHARE: Final = 0.25  # of an edge value's contacts, with each of two others
_MIN_WIDTH_PX: Final = 4  # that an edge may have in any picture
_WIDTH: Final = 0.03  # that an edge may have, of the picture's shorter side
_MIX_ERROR: Final = 16  # levels of 255 by which a mixture misses the line between its parts
MAIN_DISTANCE: Final = 48  # levels of 255: main values differ by more, noise moves by less
_MIN_FLAT_SHARE: Final = 0.5  # of all pixels, solid in any value; a photo has far fewer
_MAX_MIXED_SHARE: Final = 0.25  # of all pixels, far from every main value
_MAX_COLOURS: Final = 1 << 16  # a photo has more, and telling its main ones would take long


@dataclass(frozen=True, eq=False)
class Values:
    """The N different values of a picture.

    Attributes:
        colours: (N, c) int64, ascending; c is 1 for grey values and indices, 3 for RGB.
        index: (H, W) int64, which of them a pixel has.
        counts_px: (N,) int64, pixels of each value.
        solids_px: (N,) int64, solid pixels of each value.
    """

    colours: NDArray[np.int64]
    index: NDArray[np.int64]
    counts_px: NDArray[np.int64]
    solids_px: NDArray[np.int64]

    @classmethod
    def of(cls, pixels: NDArray[np.integer]) -> Values:
        """Count the values of an (H, W, c) picture of up to 16 bits."""
        codes = pixels[..., 0].astype(np.int64)
        for channel in range(1, pixels.shape[2]):
            codes = codes << 16 | pixels[..., channel]
        if 0 <= codes.min() <= codes.max() <= 0xFFFF:  # sorting takes several times as long
            counts_px = np.bincount(codes.ravel())
            values = np.flatnonzero(counts_px)
            counts_px = counts_px[values]
            numbers = np.zeros(values[-1] + 1, dtype=np.int64)
            numbers[values] = np.arange(len(values))
            index = numbers[codes]
        else:
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
    def are_solid(self) -> NDArray[np.bool_]:
        """(N,) bool: which values come in areas."""
        return (self.solids_px > 0) & (self.solids_px >= _MIN_SOLID_SHARE * self.counts_px)

    @property
    def has_mostly_areas(self) -> bool:
        """Whether half of the values or more come in areas."""
        return bool(2 * self.are_solid.sum() >= len(self.colours))

    def without_edges_and_specks(self, known: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Leave out the colours of edges and of specks, which are a few pixels of no known colour.

        Args:
            known: (K, 3) RGB.

        Returns:
            (M, 3) the other colours, ascending; where there are edges, only those that come in
            areas and not in narrow bands. All, if nothing but black would be left.
        """
        are_known = (self.colours[:, None] == known).all(axis=2).any(axis=1)
        are_specks = ~self.are_solid & (self.counts_px < _MIN_SOLID_PX) & ~are_known
        are_left_out = self.are_edges | are_specks
        if self.are_edges.any():
            are_left_out |= ~self.are_solid | self.are_bands
        kept = self.colours[~are_left_out]
        return kept if kept.any() else self.colours

    def is_label_map(self, *, is_lossy: bool) -> bool:
        """Tell whether most values come in areas, so that they can be taken as they are."""
        return len(self.colours) <= 2 or (not is_lossy and self.has_mostly_areas)

    def is_one_bright_area(self) -> bool:
        """Tell whether grey values are one area on black, but for few pixels of other values."""
        *others, brightest = np.flatnonzero(self.colours[:, 0]) if self.colours.any() else [0]
        if not others or self.colours[brightest, 0] <= MAIN_DISTANCE:
            return False
        are_edges = self.are_edges[others]
        are_few = self.counts_px[others].sum() <= self.counts_px[brightest] or are_edges.all()
        brightness = self.colours[brightest, 0]
        may_be_white = brightness in (0xFF, 0xFFFF) or (brightness < 0xFF and are_edges.any())
        return bool(
            may_be_white
            and are_few
            and self.are_solid[brightest]
            and (are_edges | ~self.are_solid[others]).all()
        )

    def main_colours(self) -> NDArray[np.int64]:
        """Give the (M, c) main values, the most frequent one first.

        A main value comes in areas and is far from every more frequent one.

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
        are_candidates = self.are_solid & (self.solids_px >= _MIN_SOLID_PX)
        if len(self.colours) <= _MAX_NEIGHBOURS:
            are_candidates &= ~self.are_edges
        candidates = np.flatnonzero(are_candidates)
        mains: list[NDArray[np.int64]] = []
        by_count = np.argsort(-self.counts_px[candidates], kind="stable")
        for colour in self.colours[candidates[by_count]]:
            if all(np.abs(colour - main).max() > MAIN_DISTANCE for main in mains):
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
            is_mixed &= np.abs(difference).max(axis=1) > MAIN_DISTANCE
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

    @cached_property
    def are_bands(self) -> NDArray[np.bool_]:
        """(N,) bool: which values lie in narrow bands between others, whatever those are."""
        num_contacts = self._contacts.sum(axis=1)
        # A band of one pixel's width has two contacts for each pixel.
        width_px = 2 * self.counts_px / np.maximum(num_contacts, 1)
        widest_px = max(_MIN_WIDTH_PX, _WIDTH * min(self.index.shape))
        others = num_contacts - self._contacts.max(axis=1)
        are_bands: NDArray[np.bool_] = (
            (width_px <= widest_px) & (others > 0) & (others >= _MIN_CONTACT_SHARE * num_contacts)
        )
        return are_bands

    @cached_property
    def are_edges(self) -> NDArray[np.bool_]:
        """(N,) bool: which bands are mixtures of the values on both sides.

        Their contacts tell which these are: the darker and the brighter value, or the two values
        at all, with the most contacts.
        """
        if len(self.colours) < 3:
            return np.zeros(len(self.colours), dtype=bool)
        contacts = self._contacts
        brightness = self.colours.sum(axis=1)
        is_darker = brightness[None] < brightness[:, None]
        dark = np.where(is_darker, contacts, 0).argmax(axis=1)
        bright = np.where(is_darker.T, contacts, 0).argmax(axis=1)
        *_, second, first = np.argsort(contacts, axis=1, kind="stable").T
        are_edges: NDArray[np.bool_] = self.are_bands & (
            self._are_mixtures(dark, bright) | self._are_mixtures(second, first)
        )
        return are_edges

    def _are_mixtures(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) bool: which values lie on the line between two others, (N,) each."""
        from_one = self.colours - self.colours[one]
        line = (self.colours[other] - self.colours[one]).astype(np.float64)
        share = (from_one * line).sum(axis=1) / np.maximum((line**2).sum(axis=1), 1)
        error = np.abs(from_one - share[:, None] * line).max(axis=1)
        are_mixtures: NDArray[np.bool_] = (share > 0) & (share < 1) & (error <= _MIX_ERROR)
        return are_mixtures

    @property
    def share_of_bands(self) -> float:
        """Which share of all contacts between values the bands have."""
        contacts = self._contacts
        without = contacts[~self.are_bands][:, ~self.are_bands]
        return float((contacts.sum() - without.sum()) / max(1, contacts.sum()))

    @cached_property
    def _contacts(self) -> NDArray[np.int64]:
        """(N, N) how often a pixel of one value is beside or above or below one of another."""
        num_values = len(self.colours)
        contacts = np.zeros((num_values, num_values), dtype=np.int64)
        if num_values > _MAX_NEIGHBOURS:
            return contacts
        for one, other in (
            (self.index[:, 1:], self.index[:, :-1]),
            (self.index[1:], self.index[:-1]),
        ):
            pairs = np.bincount((one * num_values + other).ravel(), minlength=num_values**2)
            contacts += pairs.reshape(num_values, num_values)
        contacts += contacts.T
        np.fill_diagonal(contacts, 0)
        return contacts
