"""Compiling the image encoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vos.errors import DeviceError


def compile_encoder(encode_images: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Put an encoder through ``torch.compile``, which does its work at the first call.

    Returns:
        The encoder. It raises DeviceError if it cannot be compiled here: for a CPU that takes a
        C++ compiler, for a GPU Triton.
    """
    program = torch.compile(encode_images)

    def encode(images: Tensor) -> Tensor:
        try:
            return program(images)
        except RuntimeError as error:
            # By name, because the module that has it takes a second to import.
            if not any(kind.__name__ == "TorchDynamoException" for kind in type(error).__mro__):
                raise
            cause = getattr(error, "inner_exception", error)
            first_line, _, _ = str(cause).partition("\n")
            raise DeviceError(
                "the image encoder cannot be compiled on this machine "
                f"({type(cause).__name__}: {first_line}); run without --compile (compiled=False)"
            ) from error

    return encode
