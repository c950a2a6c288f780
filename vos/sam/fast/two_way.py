"""SAM's two-way transformer, the same arithmetic in another order.

What the tokens do before they attend to the cells does not depend on how the layer before has
updated these. So the cells are passed over once per layer: they are updated by the tokens of the
layer before, and the tokens of the next attend to them. The tokens of all objects go through each
step together, for they are few, and a step costs what it takes to call it; their cells go a group
of objects after another (:mod:`vos.sam.fast.cells`).

Dimensions: K objects, T tokens, A heads of D channels each, C channels, N cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vos.sam.fast.cells import Cells

CellGroup = tuple[slice, Cells]
"""Some of the objects, and their cells."""


@dataclass(frozen=True, slots=True, eq=False)
class _TokenUpdate:
    """What the tokens of K objects change the cells by.

    Attributes:
        layer: Whose attention from cells to tokens it is.
        keys: (K, A, T, D) projected and scaled,
        values: and (K, A, T, D) projected.
    """

    layer: Any
    keys: Tensor
    values: Tensor


def transform(
    transformer: Any, groups: Sequence[CellGroup], tokens: Tensor, wanted: slice, *, are_alike: bool
) -> tuple[Tensor, list[CellGroup]]:
    """Run segment_anything's ``TwoWayTransformer``.

    Args:
        transformer: The module.
        groups: The cells of all K objects.
        tokens: (K, T, C): IoU token, mask tokens, prompts.
        wanted: Which mask tokens are needed.
        are_alike: Whether all groups are the same cells, and these the same for all objects.

    Returns:
        The (K, 1 + M, C) IoU token and wanted mask tokens; and the updated cells.
    """
    groups = list(groups)
    hidden = tokens
    update = None
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            hidden = layer.self_attn(hidden, hidden, hidden)
        else:
            positioned = hidden + tokens
            hidden = hidden + layer.self_attn(positioned, positioned, hidden)
        hidden = layer.norm1(hidden)
        attention = layer.cross_attn_token_to_image
        queries = _scaled(_by_head(attention, attention.q_proj(hidden + tokens)))
        if update is None and are_alike:
            # Objects whose cells are the same attend as one that has as many tokens.
            as_one = queries.transpose(0, 1).flatten(1, 2)[None]
            attended = groups[0][1].attend(attention, as_one)[0]
            attended = torch.unflatten(attended, 1, (len(queries), -1)).transpose(0, 1)
        else:
            attended = _pass_over(groups, update, attention, queries)
        hidden = layer.norm2(hidden + _joined(attention, attended))
        hidden = layer.norm3(hidden + layer.mlp(hidden))
        back = layer.cross_attn_image_to_token
        keys = _scaled(_by_head(back, back.k_proj(hidden + tokens)))
        update = _TokenUpdate(layer, keys, _by_head(back, back.v_proj(hidden)))
    rows = [0, *range(1, tokens.shape[1])[wanted]]
    hidden, tokens = hidden[:, rows], tokens[:, rows]
    attention = transformer.final_attn_token_to_image
    queries = _scaled(_by_head(attention, attention.q_proj(hidden + tokens)))
    attended = _pass_over(groups, update, attention, queries)
    return transformer.norm_final_attn(hidden + _joined(attention, attended)), groups


def _pass_over(
    groups: list[CellGroup], update: _TokenUpdate | None, attention: Any, queries: Tensor
) -> Tensor:
    """Update the cells, then let the tokens attend to them.

    Args:
        groups: The cells; replaced in the list one by one, so that no more than one group is there
            both as it was and as it is.
        update: Of the layer before; None in the first.
        attention: Of this layer's tokens to the cells.
        queries: (K, A, T, D) of these.

    Returns:
        (K, A, T, D) weighted sums of the values.
    """
    attended = []
    for index, (objects, cells) in enumerate(groups):
        if update is not None:
            cells = cells.update(update.layer, update.keys[objects], update.values[objects])
            groups[index] = objects, cells
        attended.append(cells.attend(attention, queries[objects]))
    return torch.cat(attended)


def _by_head(attention: Any, projected: Tensor) -> Tensor:
    """Split (K, T, A D) into heads, (K, A, T, D)."""
    return torch.unflatten(projected, 2, (attention.num_heads, -1)).transpose(1, 2)


def _scaled(heads: Tensor) -> Tensor:
    scale: float = heads.shape[3] ** -0.5
    return heads * scale


def _joined(attention: Any, attended: Tensor) -> Tensor:
    """Turn the heads' (K, A, T, D) sums of values into the attention's (K, T, C) output."""
    by_token = attended.transpose(1, 2).flatten(2)
    result: Tensor = attention.out_proj(by_token + attention.v_proj.bias)
    return result
