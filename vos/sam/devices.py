"""Which devices there are, and what the processor multiplies."""

from __future__ import annotations

import torch

from vos.errors import DeviceError


def available_device(device: str | torch.device) -> torch.device:
    """Resolve a device's name and check that it is there.

    Args:
        device: A device of torch, or ``auto``: CUDA, else Apple's MPS, else the CPU.

    Raises:
        DeviceError: torch does not know the name or does not see the device.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(
            f"unknown device {device!r}; choose auto, cpu, cuda, cuda:N or mps"
        ) from error
    if resolved.type == "cuda":
        num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (resolved.index or 0) >= num_devices:
            raise DeviceError(
                f"device {device} was asked for, but torch {torch.__version__} sees {num_devices} "
                "CUDA devices; use --device cpu or install a CUDA build of torch"
            )
    elif resolved.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps was asked for, but torch sees no Apple GPU; use cpu")
    elif resolved.type not in ("cpu", "mps"):
        raise DeviceError(f"device {device} is not supported; choose auto, cpu, cuda or mps")
    return resolved


def bfloat16_units() -> tuple[str, ...]:
    """Name the processor's units that multiply bfloat16: ``amx_bf16``, ``avx512_bf16`` or none.

    Nothing is known of it before torch 2.9, which counts as none.
    """
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return tuple(unit for unit in ("amx_bf16", "avx512_bf16") if capabilities.get(unit))
