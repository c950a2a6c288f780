"""Cells of many objects on one frame, which never become each object's own.

What the decoder's layers do to a cell is to add a sum of few rows to it, and to normalise it. So
after any number of layers an object's cell is a multiple of the frame's own cell, as the norms
alone have left it, plus a sum of few rows:

    cell_n = scale_n (own_n + sum_e weights_en rows_e)

The norm's variance follows from the squares of the frame's cells, from the products of these with
the rows, and from those of the rows with one another. What the layers' weights make of the frame's
own cells is the same for all objects and all of their calls, and computed once per frame; each
object's share has as many rows as it has tokens and heads, in place of as many as there are
channels. That is less than two thirds of the arithmetic of :class:`vos.sam.fast.cells.Cells` in each
call, without any map of all channels, and pays where a frame has many calls.

Dimensions: T tokens, A heads of D channels each, C channels, N cells, E rows of an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vos.sam.fast.cells import CELLS_PER_CHUNK, by_head, outputs_by_head, query_offsets
from vos.sam.fast.shared_maps import LayerMaps, SharedMaps, centred, with_bias


@dataclass(frozen=True, slots=True, eq=False)
class SharedCells:
    """One object's cells: ``scale (own + weights.T @ rows)``, a sum that is not made.

    Attributes:
        maps: What is known of the frame's own cells.
        start: Which of the shared rows the object began with; the last of them is added to all
            its cells alike.
        scale: (N,).
        weights: (E, N); the last of them is 1 / ``scale``.
        rows: (E, C).
        given: For each layer, the (A, T, D) values by which its heads' rows were made.
    """

    maps: SharedMaps
    start: slice
    scale: Tensor
    weights: Tensor
    rows: Tensor
    given: tuple[Tensor, ...] = ()

    @classmethod
    def of_frame(cls, maps: SharedMaps, added: Tensor | None) -> SharedCells:
        """Begin with (E, N) what a mask adds in a few channels, or with no mask."""
        scale = torch.ones_like(maps.layers[0].squares)
        if added is None:
            start, weights = slice(len(maps.rows) - 1, len(maps.rows)), scale[None]
        else:
            start, weights = slice(0, len(added) + 1), torch.cat([added, scale[None]])
        return cls(maps, start, scale, weights, maps.rows[start])

    def look(self, attention: Any, asked: Tensor) -> Tensor:
        """Do what :meth:`vos.sam.fast.cells.Cells.look` does, for (1, A, T, D)."""
        is_last = len(self.given) == len(self.maps.layers)
        maps = self.maps.last if is_last else self.maps.layers[len(self.given)].attended
        scores = self._scores(asked[0], attention.k_proj, attention, maps.keys, maps.position_keys)
        if self.maps.log_counts is not None:
            scores += self.maps.log_counts
        weights = torch.softmax(scores, dim=2).mul_(self.scale)
        of_rows = torch.matmul(weights.flatten(0, 1) @ self.weights.T, self.rows)
        seen = torch.matmul(
            of_rows.view(*weights.shape[:2], -1), by_head(attention.v_proj, attention).mT
        )
        return seen.baddbmm_(weights, maps.values.mT)[None]

    def told(self, layer: Any, keys: Tensor, values: Tensor) -> SharedCells:
        """Do what :meth:`vos.sam.fast.cells.Cells.told` does, for (1, A, T, D)."""
        maps = self.maps.layers[len(self.given)]
        attention, norm = layer.cross_attn_image_to_token, layer.norm4
        scores = self._scores(
            keys[0], attention.q_proj, attention, maps.queries, maps.position_queries
        )
        scores += query_offsets(attention, keys[0])[..., None]

        before = len(self.weights)
        after = before + scores.shape[0] * scores.shape[1]
        weights = scores.new_empty(after + 1, scores.shape[2])
        weights[:before] = self.weights
        old, new = weights[:before], weights[before:after]
        torch.softmax(scores, dim=1, out=new.view(scores.shape))
        new *= self.weights[-1]
        rows = with_bias(self.rows, attention.out_proj.bias, 1)
        told = torch.matmul(values[0], outputs_by_head(attention)).flatten(0, 1)
        rows, given = centred(torch.cat([rows, told])), (*self.given, values[0])

        # The squares of own + weights.T @ rows. Products of rows are symmetric: what is below the
        # blocks of old and of new rows is what is above them.
        sums = self._along(maps, given)
        products = rows @ rows.T
        sums[:before].addmm_(products[:before, :before], old, beta=2)
        sums[:before].addmm_(products[:before, before:], new, alpha=2)
        sums[before:].addmm_(products[before:, before:], new, beta=2)
        squares = sums.mul_(weights[:after]).sum(dim=0).add_(maps.squares)
        variance = (squares / rows.shape[1]).clamp_(min=0).mul_(self.scale).mul_(self.scale)
        scale = self.scale * torch.rsqrt(variance + norm.eps)
        torch.reciprocal(scale, out=weights[after])
        rows = torch.cat([rows * norm.weight, norm.bias[None]])
        return replace(self, scale=scale, weights=weights, rows=rows, given=given)

    def cut(self, all_hw: tuple[int, int], needed_hw: tuple[int, int]) -> SharedCells:
        """Do what :meth:`vos.sam.fast.cells.Cells.cut` does."""
        num_cells = all_hw[0] * all_hw[1]

        def kept(cells: Tensor, dim: int) -> Tensor:
            pictures = torch.unflatten(cells.narrow(dim, 0, num_cells), dim, all_hw)
            part = pictures.narrow(dim, 0, needed_hw[0]).narrow(dim + 1, 0, needed_hw[1])
            return part.flatten(dim, dim + 1)

        return replace(
            self,
            maps=replace(self.maps, upscaled=kept(self.maps.upscaled, 0)),
            scale=kept(self.scale, 0),
            weights=kept(self.weights, 1),
        )

    def projected(self, weight: Tensor, bias: Tensor) -> Iterator[Tensor]:
        """Do what :meth:`vos.sam.fast.cells.Cells.projected` does, for the matrix of the upscaling."""
        rows = self.rows @ weight.T
        for first in range(0, len(self.scale), CELLS_PER_CHUNK):
            chunk = slice(first, first + CELLS_PER_CHUNK)
            cells = torch.addmm(self.maps.upscaled[chunk], self.weights[:, chunk].T, rows)
            yield cells.mul_(self.scale[chunk, None]).add_(bias)[None]

    def _scores(
        self,
        asked: Tensor,
        projection: Any,
        attention: Any,
        own: Tensor,
        position: Tensor | None,
    ) -> Tensor:
        """Multiply the projections of the placed cells by (A, T, D); gives (A, T, N)."""
        of_rows = torch.matmul(asked, by_head(projection, attention)).flatten(0, 1) @ self.rows.T
        scores = torch.bmm(asked, own)
        scores.view(-1, scores.shape[2]).addmm_(of_rows, self.weights)
        scores *= self.scale
        return scores if position is None else scores.baddbmm_(asked, position)

    def _along(self, maps: LayerMaps, given: tuple[Tensor, ...]) -> Tensor:
        """Multiply the frame's own cells by the rows and by those that come last; (E + T A, N)."""
        num_heads, num_tokens, _ = given[0].shape
        num_start = self.start.stop - self.start.start
        num_told = num_heads * num_tokens
        num_cells = len(self.scale)
        along = self.scale.new_empty(num_start - 1 + len(given) * (1 + num_told), num_cells)
        along[:num_start] = maps.along_rows[self.start]
        place = num_start
        for number, (values, own) in enumerate(zip(given, maps.along_given, strict=True)):
            if number:
                along[place] = maps.along_rows[len(self.maps.rows) + number - 1]
                place += 1
            own_place = along[place : place + num_told]
            torch.bmm(values, own, out=own_place.view(num_heads, num_tokens, num_cells))
            place += num_told
        return along
