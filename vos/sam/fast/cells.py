"""The decoder's cells, and what tokens ask of them and tell them.

Until tokens tell them something, the cells of a frame's objects are the same but for a mask's
embedding, and that has a few channels before its last layer. What is asked of such cells is a sum
over what is shared and those few channels, so that an object's own cells are not made before they
are told something.

No attention projects the cells. With the projection W, a query q and a cell x, q . (W x) is
(W^T q) . x, so that the projection moves to the side of the few tokens; likewise the weighted sum
of projected cells is the projection of the weighted sum. A bias of the keys adds the same to all
scores of a query, which the softmax ignores.

Dimensions: K objects, G of them, T tokens, A heads of D channels each, Q = A T questions of an
object in the order of heads, then tokens, C channels, E those that objects add, N cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from vos.sam.fast.products import linear, plus_product, weighted_sums

CELLS_PER_CHUNK: Final = 1024
"""So many are upscaled at a time, for what comes of them to stay in the processor's cache."""


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

    def of(self, objects: slice) -> Cells:
        """Give those of some objects, while what they do not add is shared."""
        return self if self.added is None else replace(self, added=self.added[objects])

    def look(self, attention: Any, asked: Tensor) -> Tensor:
        """Let tokens attend to the cells.

        Args:
            attention: segment_anything's ``Attention`` from tokens to cells.
            asked: (G, A, T, D) its projected queries, scaled.

        Returns:
            (G, A, T, D) what they see, in the projection of values but for its bias.
        """
        scores = self._scores(
            torch.matmul(asked, by_head(attention.k_proj, attention)).flatten(1, 2)
        )
        if self.log_counts is not None:
            scores += self.log_counts[:, None]
        weights = torch.softmax(scores, dim=1)
        sums = _sums(weights, self.values)
        if self.added is not None and self.basis is not None:
            sums = sums + torch.matmul(torch.bmm(self.added, weights).mT, self.basis)
        seen = torch.unflatten(sums, 1, asked.shape[1:3])
        return torch.matmul(seen, by_head(attention.v_proj, attention).mT)

    def told(self, layer: Any, keys: Tensor, values: Tensor) -> Cells:
        """Let the cells attend to tokens, and normalise them.

        Args:
            layer: segment_anything's ``TwoWayAttentionBlock``.
            keys: (G, A, T, D) projected keys of its attention from cells to tokens, scaled.
            values: (G, A, T, D) projected values.

        Returns:
            The same places with the objects' own cells.
        """
        attention = layer.cross_attn_image_to_token
        asked = torch.matmul(keys, by_head(attention.q_proj, attention)).flatten(1, 2)
        scores = self._scores(asked, query_offsets(attention, keys).flatten(1, 2))
        # A softmax over tokens runs along whole rows only where the cells come last.
        by_token = torch.unflatten(scores.mT.contiguous(), 1, keys.shape[1:3])
        weights = torch.softmax(by_token, dim=2).flatten(1, 2)
        # The weights of a head sum to 1, so that its share of the bias rides on every answer.
        bias = attention.out_proj.bias / attention.num_heads
        given = (torch.matmul(values, outputs_by_head(attention)) + bias).flatten(1, 2)
        cells = layer.norm4(self._plus(weights, given))
        return replace(self, values=cells, placed=cells + self.position, added=None, basis=None)

    def cut(self, all_hw: tuple[int, int], needed_hw: tuple[int, int]) -> Cells:
        """Keep some rows and columns of cells that were told something.

        Args:
            all_hw: How the first cells lie; those after them go.
            needed_hw: Which rows and columns of these remain.
        """
        height, width = all_hw
        pictures = torch.unflatten(self.values[:, : height * width], 1, all_hw)
        kept = pictures[:, : needed_hw[0], : needed_hw[1]].flatten(1, 2)
        # They are upscaled and not looked at again, so that places no longer matter.
        return replace(self, values=kept, placed=kept)

    def projected(self, weight: Tensor, bias: Tensor) -> Iterator[Tensor]:
        """Multiply cells that were told something by a matrix.

        Args:
            weight: (O, C).
            bias: (O,).

        Yields:
            (G, n, O) of the next n cells.
        """
        step = CELLS_PER_CHUNK if self.values.device.type == "cpu" else self.values.shape[1]
        for part in torch.split(self.values, step, dim=1):
            yield linear(part, weight, bias)

    def _scores(self, asked: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Multiply the placed cells by (G, Q, C), and add (G, Q); gives (G, N, Q)."""
        scores = _products(self.placed, asked, offsets)
        if self.added is not None and self.basis is not None:
            scores.baddbmm_(self.added.mT, torch.matmul(self.basis, asked.mT))
        return scores

    def _plus(self, weights: Tensor, given: Tensor) -> Tensor:
        """Add to each cell a sum of what is (G, Q, C) given, by (G, Q, N); gives (G, N, C)."""
        if self.added is not None and self.basis is not None:
            weights = torch.cat([self.added, weights], dim=1)
            given = torch.cat([self.basis.expand(len(given), -1, -1), given], dim=1)
        if len(weights) == 1:
            return plus_product(self.values[0], weights[0].T, given[0])[None]
        return torch.baddbmm(self.values.expand(len(weights), -1, -1), weights.mT, given)


def by_head(projection: Any, attention: Any) -> Tensor:
    """Give the (A, D, C) weights of the queries, keys or values of an attention's heads."""
    weight: Tensor = projection.weight.unflatten(0, (attention.num_heads, -1))
    return weight


def outputs_by_head(attention: Any) -> Tensor:
    """Give the (A, D, C) weights by which each head's answer becomes a part of the output."""
    weight: Tensor = attention.out_proj.weight.T.unflatten(0, (attention.num_heads, -1))
    return weight


def query_offsets(attention: Any, keys: Tensor) -> Tensor:
    """Give what the bias of the queries adds to the scores of (..., A, T, D) keys, (..., A, T)."""
    bias = attention.q_proj.bias.unflatten(0, (attention.num_heads, -1))
    return torch.matmul(keys, bias[..., None])[..., 0]


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
