"""Networks of the package transformers, filled with weights as the hub publishes them.

The package is imported when such a network is asked for, not before: it takes seconds, and comes
with an extra. Where the names in a file are older than those of the network, the package itself
knows which is which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

from vos.errors import CheckpointError

Network = TypeVar("Network", bound=nn.Module)


def filled(
    network: type[Network], config: Any, state_dict: Mapping[str, Tensor], *, origin: str
) -> Network:
    """Build a network of transformers and put weights into it, all of them or none.

    Args:
        network: A ``PreTrainedModel`` of the package.
        config: Its configuration.
        state_dict: CPU tensors by the names of the published file.
        origin: What to call the weights in messages, such as the file's name.

    Returns:
        The network in evaluation mode, float32, on the CPU.

    Raises:
        CheckpointError: names or shapes differ from the network's, or a weight is not finite.
    """
    weights = {name: tensor.float() for name, tensor in state_dict.items()}
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{origin} is damaged: {broken[0]} holds numbers that are not finite")
    load: Any = network
    with _quiet():
        try:
            model, found = load.from_pretrained(
                None, config=config, state_dict=weights, output_loading_info=True
            )
        except RuntimeError as error:  # weights of other shapes
            raise CheckpointError(
                f"{origin} does not fit {network.__name__}: its weights have other shapes"
            ) from error
    differences = [
        f"{what}: {len(found[key])} ({min(found[key])}{', ...' if len(found[key]) > 1 else ''})"
        for what, key in (("missing", "missing_keys"), ("unknown", "unexpected_keys"))
        if found[key]
    ]
    if differences:
        raise CheckpointError(
            f"{origin} does not fit {network.__name__}; weights {'; '.join(differences)}"
        )
    filled_model: Network = model.eval()
    return filled_model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the package from reporting on weights, which errors here do."""
    from transformers.utils import logging

    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
