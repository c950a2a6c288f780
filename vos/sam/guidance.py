"""PerSAM's two ways to guide SAM's mask decoder (arXiv 2305.03048, 3.2), as removable hooks.

segment_anything's decoder has neither. Hooks add them for one call and are gone
afterwards, so that an unguided call runs segment_anything's own code and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vos.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Guidance:
    """What guides one decoder call, one row per object.

    Attributes:
        attention: (K, h, w) in [0, 1], where the tokens should attend: target-guided attention.
        embeddings: (K, C) added to the tokens: target-semantic prompting.
    """

    attention: Tensor
    embeddings: Tensor

    def __post_init__(self) -> None:
        """Check that the rows agree.

        Raises:
            InputError: another number of axes, or other numbers of objects.
        """
        if (
            self.attention.ndim != 3
            or self.embeddings.ndim != 2
            or len(self.attention) != len(self.embeddings)
        ):
            raise InputError(
                "guidance must be (K, h, w) attention and (K, C) embeddings, got "
                f"{tuple(self.attention.shape)} and {tuple(self.embeddings.shape)}"
            )


@contextmanager
def guided(transformer: nn.Module, guidance: Guidance) -> Iterator[None]:
    """Guide a two-way transformer's calls while the context lasts.

    The target embedding is added in place, as the published code does: the first layer's queries
    are the positional embedding of the queries too, so the first addition reaches both.

    Args:
        transformer: segment_anything's ``TwoWayTransformer``.
        guidance: Rows as the prompts of the calls.
    """
    embeddings = guidance.embeddings[:, None]
    attention = guidance.attention.flatten(1)[:, None, None]

    def add_to_queries(module: nn.Module, args: Any, inputs: dict[str, Tensor]) -> None:
        inputs["queries"].add_(embeddings)

    def add_to_last_query(module: nn.Module, args: Any, inputs: dict[str, Tensor]) -> None:
        inputs["q"].add_(embeddings)

    def attend_to_object(
        module: Any, args: Any, inputs: dict[str, Tensor], output: Tensor
    ) -> Tensor:
        return _guided_attention(module, inputs["q"], inputs["k"], inputs["v"], attention)

    with ExitStack() as hooks:
        for layer in transformer.get_submodule("layers").children():
            into = layer.register_forward_pre_hook(add_to_queries, with_kwargs=True)
            hooks.callback(into.remove)
            across = layer.get_submodule("cross_attn_token_to_image")
            hooks.callback(across.register_forward_hook(attend_to_object, with_kwargs=True).remove)
        last = transformer.get_submodule("final_attn_token_to_image")
        hooks.callback(last.register_forward_pre_hook(add_to_last_query, with_kwargs=True).remove)
        yield


def _guided_attention(attention: Any, q: Tensor, k: Tensor, v: Tensor, guide: Tensor) -> Tensor:
    """Attend with the guide added to the weights, and a second softmax over the sum."""
    heads = attention.num_heads
    queries, keys, values = (
        projection(x).unflatten(2, (heads, -1)).transpose(1, 2)
        for projection, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
    )
    weights = torch.softmax(queries @ keys.mT / math.sqrt(queries.shape[-1]), dim=-1)
    weights = torch.softmax(weights + guide, dim=-1)
    mixed: Tensor = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
    return mixed
