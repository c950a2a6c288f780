"""SAM's two-way transformer, the same arithmetic in another order.

A cross attention never projects the cells. With the projection W, a query q and a cell x,
q . (W x) is (W^T q) . x, so that the projection moves to the side of the few tokens; likewise the
weighted sum of projected cells is the projection of the weighted sum. A bias of the keys adds the
same to all scores of a query, which the softmax ignores.

What the tokens do before they look at the cells does not depend on the layer before having changed
these. So the cells are passed over once per layer: they get the tokens' answers of the layer
before, and are compared with the questions of the next. The tokens of all objects go through each
step together, for they are few, and a step costs what it takes to call it; their cells go one
object after another, on a GPU all at once.

Dimensions: K objects, G of them whose cells are worked on together, T tokens, Q questions of an
object (one for each token and head), C channels, N cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vos.sam.cells import Cells


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """What K objects' tokens have to say to the cells: an attention from these to those.

    Attributes:
        asked: (K, Q, C) by which a cell is multiplied,
        offsets: (K, Q) and what is added, to give its score with a token in a head.
        given: (K, Q, C) what that token gives in that head.
        num_tokens: T; the questions are in the order of tokens, then heads.
        norm: Of the cells, after what is given was added.
    """

    asked: Tensor
    offsets: Tensor
    given: Tensor
    num_tokens: int
    norm: nn.LayerNorm

    def of(self, objects: slice) -> _Answers:
        """Give those of some objects."""
        return replace(
            self,
            asked=self.asked[objects],
            offsets=self.offsets[objects],
            given=self.given[objects],
        )

    def tell(self, cells: Cells) -> Cells:
        """Change the cells."""
        scores = cells.scores(self.asked, self.offsets)
        # A softmax over tokens runs along whole rows only where the cells come last.
        by_token = scores.mT.contiguous().view(len(scores), self.num_tokens, -1)
        weights = torch.softmax(by_token, dim=1).view(scores.mT.shape)
        return cells.changed_to(self.norm(cells.plus(weights, self.given)))


def transform(
    transformer: Any, cells: Cells, tokens: Tensor, wanted: slice
) -> tuple[Tensor, list[tuple[slice, Tensor]]]:
    """Run segment_anything's ``TwoWayTransformer``.

    Args:
        transformer: The module.
        cells: Those of all K objects.
        tokens: (K, T, C): IoU token, mask tokens, prompts.
        wanted: Which mask tokens are asked for.

    Returns:
        The (K, 1 + M, C) IoU token and wanted mask tokens; and what the cells have become, group
        by group: which of the objects, and their (G, N, C).
    """
    groups = split_objects(len(tokens), tokens.device)
    parts = [cells.of(objects) for objects in groups]
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
        questions = _questions(attention, queries + tokens)
        if answers is None and cells.are_the_same:
            # Objects whose cells are the same ask as one that has as many questions.
            seen = cells.seen(questions.flatten(0, 1)[None]).view(questions.shape)
        else:
            seen = _pass(parts, groups, answers, questions)
        queries = layer.norm2(queries + _told(attention, seen))
        queries = layer.norm3(queries + layer.mlp(queries))
        answers = _answers(layer, queries + tokens, queries)
    own = [0, *range(1, tokens.shape[1])[wanted]]
    queries, tokens = queries[:, own], tokens[:, own]
    attention = transformer.final_attn_token_to_image
    seen = _pass(parts, groups, answers, _questions(attention, queries + tokens))
    queries = transformer.norm_final_attn(queries + _told(attention, seen))
    return queries, [(objects, part.values) for objects, part in zip(groups, parts, strict=True)]


def split_objects(num_objects: int, device: torch.device) -> list[slice]:
    """Say which objects' cells are worked on together."""
    size = 1 if device.type == "cpu" else num_objects
    return [slice(first, first + size) for first in range(0, num_objects, size)]


def _pass(
    parts: list[Cells],
    groups: Sequence[slice],
    answers: _Answers | None,
    questions: Tensor,
) -> Tensor:
    """Give the cells their answers, then let the tokens look at them.

    Args:
        parts: The cells of each group of objects; changed in place, so that no more than one
            group's are there as they were and as they are.
        groups: Which objects these are.
        answers: Of the layer before; None in the first.
        questions: (K, Q, C) of this layer.

    Returns:
        (K, Q, C) the mean of cells that each question saw.
    """
    seen = []
    for place, objects in enumerate(groups):
        if answers is not None:
            parts[place] = answers.of(objects).tell(parts[place])
        seen.append(parts[place].seen(questions[objects]))
    return torch.cat(seen)


def _questions(attention: Any, queries: Tensor) -> Tensor:
    """Turn (K, T, C) tokens into (K, Q, C) by which cells are multiplied to give scores."""
    per_head = attention.q_proj(queries).unflatten(2, (attention.num_heads, -1))
    scale = per_head.shape[3] ** -0.5
    key_weight = attention.k_proj.weight.unflatten(0, (attention.num_heads, -1)) * scale
    return torch.einsum("kthd,hdc->kthc", per_head, key_weight).flatten(1, 2)


def _told(attention: Any, seen: Tensor) -> Tensor:
    """Turn the (K, Q, C) means of cells into what (K, T, C) tokens get of them."""
    value_weight = attention.v_proj.weight.unflatten(0, (attention.num_heads, -1))
    per_head = seen.view(len(seen), -1, attention.num_heads, seen.shape[2])
    mixed = torch.einsum("kthc,hdc->kthd", per_head, value_weight).flatten(2)
    result: Tensor = attention.out_proj(mixed + attention.v_proj.bias)
    return result


def _answers(layer: Any, keys: Tensor, values: Tensor) -> _Answers:
    """Prepare what the cells get of (K, T, C) tokens."""
    attention = layer.cross_attn_image_to_token
    heads = attention.num_heads
    key_heads = attention.k_proj(keys).unflatten(2, (heads, -1))
    value_heads = attention.v_proj(values).unflatten(2, (heads, -1))
    scale = key_heads.shape[3] ** -0.5
    query_weight = attention.q_proj.weight.unflatten(0, (heads, -1)) * scale
    query_bias = attention.q_proj.bias.unflatten(0, (heads, -1)) * scale
    asked = torch.einsum("kthd,hdc->kthc", key_heads, query_weight).flatten(1, 2)
    offsets = torch.einsum("kthd,hd->kth", key_heads, query_bias).flatten(1)
    out_weight = attention.out_proj.weight.unflatten(1, (heads, -1))
    given = torch.einsum("kthd,chd->kthc", value_heads, out_weight)
    # The weights of a head sum to 1, so that its share of the bias rides on every answer.
    given = (given + attention.out_proj.bias / heads).flatten(1, 2)
    return _Answers(asked, offsets, given, keys.shape[1], layer.norm4)
