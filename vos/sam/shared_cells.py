"""Cells of many objects on one frame, which never become each object's own.

What the decoder's layers do to a cell is to add a sum of few rows to it, and to normalise it. So
after any number of layers an object's cell is a multiple of the frame's own cell, as the norms
alone have left it, plus a sum of few rows:

    cell_n = scale_n (own_n + sum_e weights_en rows_e)

The norm's variance follows from the squares of the frame's cells, from the products of these with
the rows, and from those of the rows with one another. What the layers' weights make of the frame's
own cells is the same for all objects and all of their calls, and computed once per frame; each
object's share has as many rows as it has tokens and heads, in place of as many as there are
channels. That is some two thirds of the arithmetic of :class:`vos.sam.cells.Cells` in each call,
and it writes no map of all channels; it pays from some eight calls on.

Dimensions: T tokens, A heads of D channels each, C channels, N cells; R rows that objects share, E
rows of one object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from vos.sam.cells import by_head, outputs_by_head, query_offsets

_CELLS_PER_CHUNK: Final = 1024


@dataclass(frozen=True, slots=True, eq=False)
class _Attended:
    """What tokens' attention to the frame's own cells needs of these.

    Attributes:
        keys: (A, D, N).
        position_keys: (A, D, N) of the positional encoding; None where ``keys`` have it.
        values: (A, D, N), without bias.
    """

    keys: Tensor
    position_keys: Tensor | None
    values: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What a layer's weights make of the frame's own cells.

    Attributes:
        attended: By the tokens.
        queries: (A, D, N) of the attention to the tokens, without bias.
        position_queries: (A, D, N) of the positional encoding; None where ``queries`` have it.
        squares: (N,) sum over channels of the squares of the cells, less their mean.
        along_rows: (R, N) products of these with the shared rows,
        along_given: and (A, D, N) with what this layer's heads give and those before it have given.
    """

    attended: _Attended
    queries: Tensor
    position_queries: Tensor | None
    squares: Tensor
    along_rows: Tensor
    along_given: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SharedMaps:
    """What the decoder's weights make of a frame's own cells.

    Attributes:
        layers: Of each layer of the transformer,
        last: and of its last attention.
        upscaled: (N, O) of the first layer of the upscaling, without bias.
        rows: (R, C) what any cell may have added from the start: a mask's channels, the bias of
            these, and what stands for no mask.
        log_counts: (N,) logarithm of how many cells each stands for; None if all for one.
    """

    layers: tuple[_Layer, ...]
    last: _Attended
    upscaled: Tensor
    rows: Tensor
    log_counts: Tensor | None


def share(
    module: Any,
    features: Tensor,
    position: Tensor,
    upscaling: Tensor,
    log_counts: Tensor | None,
) -> SharedMaps:
    """Compute what all objects of a frame share.

    Args:
        module: segment_anything's ``Sam``.
        features: (N, C) of the frame.
        position: (N, C) positional encoding.
        upscaling: (O, C) weight of the first layer of the upscaling.
        log_counts: See :class:`SharedMaps`.
    """
    transformer = module.mask_decoder.transformer
    last = module.prompt_encoder.mask_downscaling[-1]
    no_mask = module.prompt_encoder.no_mask_embed.weight
    start = torch.cat([last.weight.flatten(1).T, last.bias[None], no_mask])
    own, rows = features, start
    given: list[Tensor] = []
    layers = []
    for number, layer in enumerate(transformer.layers):
        attention = layer.cross_attn_image_to_token
        placed, apart = (own, position) if number else (own + position, None)
        attended = _attended(layer.cross_attn_token_to_image, placed, own, apart)
        queries, position_queries = _by_head(attention.q_proj, attention, placed, apart)
        # All cells get the bias of what they are told, so that it is in a row that all have.
        rows = _with_bias(rows, attention.out_proj.bias, 1 if number else 2)
        own, rows = _centred(own), _centred(rows)
        given = [_centred(each) for each in (*given, outputs_by_head(attention))]
        along_given = tuple(torch.matmul(each, own.T) for each in given)
        squares = own.square().sum(dim=1)
        layers.append(
            _Layer(attended, queries, position_queries, squares, rows @ own.T, along_given)
        )
        norm = layer.norm4
        own, rows = own * norm.weight, torch.cat([rows * norm.weight, norm.bias[None]])
        given = [each * norm.weight for each in given]
    final = _attended(transformer.final_attn_token_to_image, own, own, position)
    return SharedMaps(tuple(layers), final, own @ upscaling.T, start, log_counts)


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
        """Do what :meth:`vos.sam.cells.Cells.look` does, for (1, A, T, D)."""
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
        """Do what :meth:`vos.sam.cells.Cells.told` does, for (1, A, T, D)."""
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
        rows = _with_bias(self.rows, attention.out_proj.bias, 1)
        told = torch.matmul(values[0], outputs_by_head(attention)).flatten(0, 1)
        rows, given = _centred(torch.cat([rows, told])), (*self.given, values[0])

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
        """Do what :meth:`vos.sam.cells.Cells.cut` does."""
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
        """Do what :meth:`vos.sam.cells.Cells.projected` does, for the matrix of the upscaling."""
        rows = self.rows @ weight.T
        for first in range(0, len(self.scale), _CELLS_PER_CHUNK):
            chunk = slice(first, first + _CELLS_PER_CHUNK)
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

    def _along(self, maps: _Layer, given: tuple[Tensor, ...]) -> Tensor:
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


def _attended(attention: Any, placed: Tensor, own: Tensor, apart: Tensor | None) -> _Attended:
    """Project (N, C) cells with what they have of the positional encoding, and without."""
    keys, position_keys = _by_head(attention.k_proj, attention, placed, apart)
    values = torch.matmul(by_head(attention.v_proj, attention), own.T)
    return _Attended(keys, position_keys, values)


def _by_head(
    projection: Any, attention: Any, placed: Tensor, apart: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Project (N, C) cells, and their positional encoding where that is apart; (A, D, N) each."""
    weight = by_head(projection, attention)
    return torch.matmul(weight, placed.T), None if apart is None else torch.matmul(weight, apart.T)


def _with_bias(rows: Tensor, bias: Tensor, num_last: int) -> Tensor:
    """Add a bias to the last of (E, C) rows."""
    return torch.cat([rows[:-num_last], rows[-num_last:] + bias])


def _centred(rows: Tensor) -> Tensor:
    """Take from each row its mean over channels."""
    return rows - rows.mean(dim=-1, keepdim=True)
