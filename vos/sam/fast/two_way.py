"""SAM's two-way transformer, the same arithmetic in another order.

What the tokens do before they look at the cells does not depend on the layer before having changed
these. So the cells are passed over once per layer: they get the tokens' answers of the layer
before, and are compared with the questions of the next. The tokens of all objects go through each
step together, for they are few, and a step costs what it takes to call it; their cells go one
object after another, on a GPU all at once. How cells are asked and told is theirs to know
(:mod:`vos.sam.fast.cells`, :mod:`vos.sam.fast.shared_cells`).

Dimensions: K objects, T tokens, A heads of D channels each, C channels, N cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vos.sam.fast.cells import Cells
from vos.sam.fast.shared_cells import SharedCells

Part = tuple[slice, Cells | SharedCells]
"""Some of the objects, and their cells."""


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """What K objects' tokens have to say to the cells.

    Attributes:
        layer: Whose attention from cells to tokens it is.
        keys: (K, A, T, D) projected and scaled,
        values: and (K, A, T, D) projected.
    """

    layer: Any
    keys: Tensor
    values: Tensor


def transform(
    transformer: Any, parts: Sequence[Part], tokens: Tensor, wanted: slice, *, are_alike: bool
) -> tuple[Tensor, list[Part]]:
    """Run segment_anything's ``TwoWayTransformer``.

    Args:
        transformer: The module.
        parts: The cells of all K objects.
        tokens: (K, T, C): IoU token, mask tokens, prompts.
        wanted: Which mask tokens are asked for.
        are_alike: Whether all parts are the same cells, and these the same for all objects.

    Returns:
        The (K, 1 + M, C) IoU token and wanted mask tokens; and what the cells have become.
    """
    parts = list(parts)
    queries = tokens
    answers = None
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(queries, queries, queries)
        else:
            placed = queries + tokens
            queries = queries + layer.self_attn(placed, placed, queries)
        queries = layer.norm1(queries)
        attention = layer.cross_attn_token_to_image
        asked = _scaled(_by_head(attention, attention.q_proj(queries + tokens)))
        if answers is None and are_alike:
            # Objects whose cells are the same ask as one that has as many tokens.
            as_one = asked.transpose(0, 1).flatten(1, 2)[None]
            seen = parts[0][1].look(attention, as_one)[0]
            seen = torch.unflatten(seen, 1, (len(asked), -1)).transpose(0, 1)
        else:
            seen = _pass(parts, answers, attention, asked)
        queries = layer.norm2(queries + _joined(attention, seen))
        queries = layer.norm3(queries + layer.mlp(queries))
        back = layer.cross_attn_image_to_token
        keys = _scaled(_by_head(back, back.k_proj(queries + tokens)))
        answers = _Answers(layer, keys, _by_head(back, back.v_proj(queries)))
    own = [0, *range(1, tokens.shape[1])[wanted]]
    queries, tokens = queries[:, own], tokens[:, own]
    attention = transformer.final_attn_token_to_image
    asked = _scaled(_by_head(attention, attention.q_proj(queries + tokens)))
    seen = _pass(parts, answers, attention, asked)
    return transformer.norm_final_attn(queries + _joined(attention, seen)), parts


def _pass(parts: list[Part], answers: _Answers | None, attention: Any, asked: Tensor) -> Tensor:
    """Give the cells their answers, then let the tokens look at them.

    Args:
        parts: The cells; changed in place, so that no more than one part is there as it was and as
            it is.
        answers: Of the layer before; None in the first.
        attention: Of this layer's tokens to the cells.
        asked: (K, A, T, D) by them.

    Returns:
        (K, A, T, D) what they see.
    """
    seen = []
    for place, (objects, cells) in enumerate(parts):
        told = cells
        if answers is not None:
            told = cells.told(answers.layer, answers.keys[objects], answers.values[objects])
            parts[place] = objects, told
        seen.append(told.look(attention, asked[objects]))
    return torch.cat(seen)


def _by_head(attention: Any, projected: Tensor) -> Tensor:
    """Split (K, T, A D) into heads, (K, A, T, D)."""
    return torch.unflatten(projected, 2, (attention.num_heads, -1)).transpose(1, 2)


def _scaled(heads: Tensor) -> Tensor:
    scale: float = heads.shape[3] ** -0.5
    return heads * scale


def _joined(attention: Any, seen: Tensor) -> Tensor:
    """Turn the (K, A, T, D) values seen into what (K, T, C) tokens get of them."""
    result: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2) + attention.v_proj.bias)
    return result
