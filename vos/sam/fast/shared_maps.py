"""What the decoder's weights make of a frame's own cells, once for all of its objects.

Dimensions: A heads of D channels each, C channels, N cells, R rows that objects share, O outputs
of the upscaling's first layer.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vos.sam.fast.cells import by_head, outputs_by_head


@dataclass(frozen=True, slots=True, eq=False)
class AttendedMaps:
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
class LayerMaps:
    """What a layer's weights make of the frame's own cells.

    Attributes:
        attended: By the tokens.
        queries: (A, D, N) of the attention to the tokens, without bias.
        position_queries: (A, D, N) of the positional encoding; None where ``queries`` have it.
        squares: (N,) sum over channels of the squares of the cells, less their mean.
        along_rows: (R, N) products of these with the shared rows,
        along_given: and (A, D, N) with what this layer's heads give and those before it have given.
    """

    attended: AttendedMaps
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

    layers: tuple[LayerMaps, ...]
    last: AttendedMaps
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

    A norm of the frame's own cells is linear but for a factor, which is the object's. So whatever
    any layer makes of them is one product with the features.

    Args:
        module: segment_anything's ``Sam``.
        features: (N, C) of the frame.
        position: (N, C) positional encoding.
        upscaling: (O, C) weight of the first layer of the upscaling.
        log_counts: See :class:`SharedMaps`.
    """
    transformer = module.mask_decoder.transformer
    by_features: dict[Hashable, Tensor] = {}
    by_position: dict[Hashable, Tensor] = {}
    scales: list[Tensor] = []

    def ask(name: Hashable, weight: Tensor, *, is_placed: bool = False) -> None:
        """Have the cells of this layer multiplied, and their positional encoding likewise."""
        if is_placed:
            by_position[name] = weight.flatten(0, -2)
        for scale in reversed(scales):
            weight = centred(weight * scale)
        by_features[name] = weight.flatten(0, -2)

    last = module.prompt_encoder.mask_downscaling[-1]
    no_mask = module.prompt_encoder.no_mask_embed.weight
    rows = start = torch.cat([last.weight.flatten(1).T, last.bias[None], no_mask])
    given: list[Tensor] = []
    for number, layer in enumerate(transformer.layers):
        to_cells, to_tokens = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        ask((number, "keys"), by_head(to_cells.k_proj, to_cells), is_placed=True)
        ask((number, "values"), by_head(to_cells.v_proj, to_cells))
        ask((number, "queries"), by_head(to_tokens.q_proj, to_tokens), is_placed=True)
        # All cells get the bias of what they are told, so that it is in a row that all have.
        rows = centred(with_bias(rows, to_tokens.out_proj.bias, 1 if number else 2))
        given = [centred(each) for each in (*given, outputs_by_head(to_tokens))]
        ask((number, "rows"), rows)
        for earlier, each in enumerate(given):
            ask((number, "given", earlier), each)
        scales.append(layer.norm4.weight)
        rows = torch.cat([rows * scales[-1], layer.norm4.bias[None]])
        given = [each * scales[-1] for each in given]
    attention = transformer.final_attn_token_to_image
    ask((len(scales), "keys"), by_head(attention.k_proj, attention), is_placed=True)
    ask((len(scales), "values"), by_head(attention.v_proj, attention))
    ask("upscaling", upscaling)

    upscaled = features @ by_features.pop("upscaling").T
    products, positions = _products(by_features, features), _products(by_position, position)
    for kind in ("keys", "queries"):
        products[0, kind] += positions.pop((0, kind))

    def by_heads(name: Hashable) -> Tensor:
        return torch.unflatten(products[name], 0, (attention.num_heads, -1))

    def placed(name: Hashable) -> tuple[Tensor, Tensor | None]:
        apart = positions.get(name)
        if apart is not None:
            apart = torch.unflatten(apart, 0, (attention.num_heads, -1))
        return by_heads(name), apart

    layers, own = [], features
    for number, scale in enumerate(scales):
        own = centred(own)
        squares = torch.linalg.vector_norm(own, dim=1).square()
        own *= scale
        attended = AttendedMaps(*placed((number, "keys")), by_heads((number, "values")))
        along_given = tuple(by_heads((number, "given", each)) for each in range(number + 1))
        along = products[number, "rows"], along_given
        layers.append(LayerMaps(attended, *placed((number, "queries")), squares, *along))
    number = len(scales)
    final = AttendedMaps(*placed((number, "keys")), by_heads((number, "values")))
    return SharedMaps(tuple(layers), final, upscaled, start, log_counts)


def _products(weights: Mapping[Hashable, Tensor], cells: Tensor) -> dict[Hashable, Tensor]:
    """Multiply (N, C) cells by (M, C) each, all at once; (M, N) each."""
    sizes = [len(each) for each in weights.values()]
    products = torch.cat(list(weights.values())) @ cells.T
    return dict(zip(weights, torch.split(products, sizes), strict=True))


def with_bias(rows: Tensor, bias: Tensor, num_last: int) -> Tensor:
    """Add a bias to the last of (E, C) rows."""
    return torch.cat([rows[:-num_last], rows[-num_last:] + bias])


def centred(rows: Tensor) -> Tensor:
    """Take from each row its mean over channels."""
    return rows - rows.mean(dim=-1, keepdim=True)
