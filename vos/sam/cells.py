"""The decoder's cells, and what tokens ask of them and tell them.

Until tokens tell them something, the cells of a frame's objects are the same but for a mask's
embedding, and that has a few channels before its last layer. What is asked of such cells is a sum
over what is shared and those few channels, so that an object's own cells are not made before they
are told something.

Dimensions: K objects, G of them, Q questions of an object, C channels, E those that objects add,
N cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vos.sam.products import linear, plus_product, weighted_sums


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of G objects: ``values + added.mT @ basis``, a sum that is not made.

    Attributes:
        values: (G, N, C), or (1, N, C) that all objects share.
        position: (N, C) positional encoding.
        placed: The sum of these two.
        added: (G, E, N) what each object adds in a few channels, or None if nothing.
        basis: (E, C) what these channels are, or None.
        log_counts: (N,) logarithm of how many cells each stands for; None if all for one.
    """

    values: Tensor
    position: Tensor
    placed: Tensor
    added: Tensor | None = None
    basis: Tensor | None = None
    log_counts: Tensor | None = None

    @classmethod
    def of_frame(
        cls,
        features: Tensor,
        position: Tensor,
        added: Tensor | None,
        basis: Tensor | None,
        log_counts: Tensor | None,
    ) -> Cells:
        """Take (N, C) features for all objects; the rest is as of the attributes."""
        values = features[None]
        return cls(values, position, values + position, added, basis, log_counts)

    def changed_to(self, cells: Tensor) -> Cells:
        """Give the same places with the objects' own (G, N, C) cells."""
        return replace(self, values=cells, placed=cells + self.position, added=None, basis=None)

    @property
    def are_the_same(self) -> bool:
        """Whether all objects have the same cells, however many they are."""
        return self.added is None and len(self.values) == 1

    def of(self, objects: slice) -> Cells:
        """Give those of some objects, while what they do not add is shared."""
        return self if self.added is None else replace(self, added=self.added[objects])

    def scores(self, asked: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Multiply the placed cells by what is asked.

        Args:
            asked: (G, Q, C).
            offsets: (G, Q) that are added, or None.

        Returns:
            (G, N, Q).
        """
        scores = _products(self.placed, asked, offsets)
        if self.added is not None and self.basis is not None:
            scores.baddbmm_(self.added.mT, torch.matmul(self.basis, asked.mT))
        return scores

    def seen(self, asked: Tensor) -> Tensor:
        """Let questions attend to the cells.

        Args:
            asked: (G, Q, C).

        Returns:
            (G, Q, C) mean of the cells, without their positional encoding, by the softmax of their
            scores.
        """
        scores = self.scores(asked)
        if self.log_counts is not None:
            scores += self.log_counts[:, None]
        weights = torch.softmax(scores, dim=1)
        sums = _sums(weights, self.values)
        if self.added is not None and self.basis is not None:
            sums = sums + torch.matmul(torch.bmm(self.added, weights).mT, self.basis)
        return sums

    def plus(self, weights: Tensor, given: Tensor) -> Tensor:
        """Add to each cell a weighted sum of what is given.

        Args:
            weights: (G, Q, N).
            given: (G, Q, C).

        Returns:
            (G, N, C).
        """
        if self.added is not None and self.basis is not None:
            weights = torch.cat([self.added, weights], dim=1)
            given = torch.cat([self.basis.expand(len(given), -1, -1), given], dim=1)
        if len(weights) == 1:
            return plus_product(self.values[0], weights[0].T, given[0])[None]
        return torch.baddbmm(self.values.expand(len(weights), -1, -1), weights.mT, given)


def _products(cells: Tensor, asked: Tensor, offsets: Tensor | None) -> Tensor:
    """Multiply (G or 1, N, C) by (G, Q, C) and add (G, Q); gives (G, N, Q)."""
    if len(asked) == 1:
        return linear(cells[0], asked[0], None if offsets is None else offsets[0])[None]
    if offsets is None:
        return torch.matmul(cells, asked.mT)
    return torch.baddbmm(offsets[:, None], cells.expand(len(asked), -1, -1), asked.mT)


def _sums(weights: Tensor, cells: Tensor) -> Tensor:
    """Sum (G or 1, N, C) by (G, N, Q) weights; gives (G, Q, C)."""
    if len(weights) == 1:
        return weighted_sums(weights[0], cells[0])[None]
    return torch.matmul(weights.mT, cells)
