"""The image cells of SAM's mask decoder, and their attention to and from tokens.

Before the first layer changes them, the cells of a frame's objects are the same but for the
embedding of a mask prompt, and that has a few channels before its last layer. Attention to such
cells is a sum over what is shared and over those few channels, so that an object's own cells are
not made before they are updated.

No attention projects the cells. With the projection W, a query q and a cell x, q . (W x) is
(W^T q) . x, so that the projection moves to the side of the few tokens; likewise the weighted sum
of projected cells is the projection of the weighted sum. A bias of the keys adds the same to all
scores of a query, which the softmax ignores.

Dimensions: K objects, G of them, T tokens, A heads of D channels each, Q = A T queries of an
object in the order of heads, then tokens, C channels, E those of a mask's embedding before its
last layer, N cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from vos.sam.fast.products import linear, plus_product, weighted_sums

_CELLS_PER_CHUNK: Final = 1024
"""So many are upscaled at a time, for what comes of them to stay in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of G objects: ``values + mask_channels.mT @ mask_weights``, a sum that is not made.

    Attributes:
        values: (G, N, C), or (1, N, C) that all objects share.
        position: (N, C) positional encoding.
        positioned: The sum of these two.
        mask_channels: (G, E, N) of each object's mask prompt, or None.
        mask_weights: (E, C) of the last layer of a mask's embedding, or None.
    """

    values: Tensor
    position: Tensor
    positioned: Tensor
    mask_channels: Tensor | None = None
    mask_weights: Tensor | None = None

    @classmethod
    def of_frame(
        cls,
        features: Tensor,
        position: Tensor,
        mask_channels: Tensor | None,
        mask_weights: Tensor | None,
    ) -> Cells:
        """Take (N, C) features for all objects; the rest is as of the attributes."""
        values = features[None]
        return cls(values, position, values + position, mask_channels, mask_weights)

    def of(self, objects: slice) -> Cells:
        """Give those of some objects, while the values are shared."""
        if self.mask_channels is None:
            return self
        return replace(self, mask_channels=self.mask_channels[objects])

    def attend(self, attention: Any, queries: Tensor) -> Tensor:
        """Let tokens attend to the cells.

        Args:
            attention: segment_anything's ``Attention`` from tokens to cells.
            queries: (G, A, T, D) of the tokens, projected and scaled.

        Returns:
            (G, A, T, D) weighted sums of the projected values, but for their bias.
        """
        by_cell_channel = torch.matmul(queries, _by_head(attention.k_proj, attention))
        weights = torch.softmax(self._scores(by_cell_channel.flatten(1, 2)), dim=1)
        sums = _sums(weights, self.values)
        if self.mask_channels is not None and self.mask_weights is not None:
            sums = sums + torch.matmul(torch.bmm(self.mask_channels, weights).mT, self.mask_weights)
        sums = torch.unflatten(sums, 1, queries.shape[1:3])
        return torch.matmul(sums, _by_head(attention.v_proj, attention).mT)

    def update(self, layer: Any, keys: Tensor, values: Tensor) -> Cells:
        """Let the cells attend to tokens, and normalise them.

        Args:
            layer: segment_anything's ``TwoWayAttentionBlock``.
            keys: (G, A, T, D) of the tokens, projected and scaled.
            values: (G, A, T, D) of the tokens, projected.

        Returns:
            The same cells with values of each object's own.
        """
        attention = layer.cross_attn_image_to_token
        by_cell_channel = torch.matmul(keys, _by_head(attention.q_proj, attention)).flatten(1, 2)
        scores = self._scores(by_cell_channel, _query_offsets(attention, keys).flatten(1, 2))
        # A softmax over tokens runs along whole rows only where the cells come last.
        by_token = torch.unflatten(scores.mT.contiguous(), 1, keys.shape[1:3])
        weights = torch.softmax(by_token, dim=2).flatten(1, 2)
        # The weights of a head sum to 1, so that its share of the bias is added to every value.
        bias = attention.out_proj.bias / attention.num_heads
        outputs = (torch.matmul(values, _outputs_by_head(attention)) + bias).flatten(1, 2)
        updated = layer.norm4(self._plus(weights, outputs))
        return Cells(updated, self.position, updated + self.position)

    def crop(self, all_hw: tuple[int, int], needed_hw: tuple[int, int]) -> Cells:
        """Keep the first rows and columns of updated cells, to be upscaled.

        Args:
            all_hw: Rows and columns of the cells.
            needed_hw: Rows and columns of these that remain.
        """
        maps = torch.unflatten(self.values, 1, all_hw)
        kept = maps[:, : needed_hw[0], : needed_hw[1]].flatten(1, 2)
        # Nothing attends to them any more, so that positions no longer matter.
        return replace(self, values=kept, positioned=kept)

    def projected(self, weight: Tensor, bias: Tensor) -> Iterator[Tensor]:
        """Multiply updated cells by a matrix.

        Args:
            weight: (O, C).
            bias: (O,).

        Yields:
            (G, n, O) of the next n cells.
        """
        step = _CELLS_PER_CHUNK if self.values.device.type == "cpu" else self.values.shape[1]
        for chunk in torch.split(self.values, step, dim=1):
            yield linear(chunk, weight, bias)

    def _scores(self, queries: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Multiply the positioned cells by (G, Q, C), and add (G, Q); gives (G, N, Q)."""
        scores = _products(self.positioned, queries, offsets)
        if self.mask_channels is not None and self.mask_weights is not None:
            scores.baddbmm_(self.mask_channels.mT, torch.matmul(self.mask_weights, queries.mT))
        return scores

    def _plus(self, weights: Tensor, outputs: Tensor) -> Tensor:
        """Add to each cell a sum of (G, Q, C) outputs by (G, Q, N) weights; gives (G, N, C)."""
        if self.mask_channels is not None and self.mask_weights is not None:
            weights = torch.cat([self.mask_channels, weights], dim=1)
            outputs = torch.cat([self.mask_weights.expand(len(outputs), -1, -1), outputs], dim=1)
        if len(weights) == 1:
            return plus_product(self.values[0], weights[0].T, outputs[0])[None]
        return torch.baddbmm(self.values.expand(len(weights), -1, -1), weights.mT, outputs)


def _by_head(projection: Any, attention: Any) -> Tensor:
    """Give the (A, D, C) weights of the queries, keys or values of an attention's heads."""
    weight: Tensor = projection.weight.unflatten(0, (attention.num_heads, -1))
    return weight


def _outputs_by_head(attention: Any) -> Tensor:
    """Give the (A, D, C) weights by which each head's values become a part of the output."""
    weight: Tensor = attention.out_proj.weight.T.unflatten(0, (attention.num_heads, -1))
    return weight


def _query_offsets(attention: Any, keys: Tensor) -> Tensor:
    """Give what the bias of the queries adds to the scores of (..., A, T, D) keys, (..., A, T)."""
    bias = attention.q_proj.bias.unflatten(0, (attention.num_heads, -1))
    return torch.matmul(keys, bias[..., None])[..., 0]


def _products(cells: Tensor, queries: Tensor, offsets: Tensor | None) -> Tensor:
    """Multiply (G or 1, N, C) by (G, Q, C) and add (G, Q); gives (G, N, Q)."""
    if len(queries) == 1:
        return linear(cells[0], queries[0], None if offsets is None else offsets[0])[None]
    if offsets is None:
        return torch.matmul(cells, queries.mT)
    return torch.baddbmm(offsets[:, None], cells.expand(len(queries), -1, -1), queries.mT)


def _sums(weights: Tensor, cells: Tensor) -> Tensor:
    """Sum (G or 1, N, C) by (G, N, Q) weights; gives (G, Q, C)."""
    if len(weights) == 1:
        return weighted_sums(weights[0], cells[0])[None]
    return torch.matmul(weights.mT, cells)
