"""``vos doctor``: what this machine has, and what vos will use of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from vos.cli.process import prepare_process
from vos.cli.tables import table
from vos.errors import OutputError, VosError
from vos.sam.cores import usable_cores

_GIB = 1 << 30
_CODECS = {"H.264 overlay": "libx264", "ProRes": "prores_ks", "VP9 with alpha": "libvpx-vp9"}


@click.command("doctor")
@click.option(
    "--model",
    default="nano",
    show_default=True,
    help="Model that you want to use; vos models lists them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
def doctor_command(model: str, out: Path) -> None:
    """Say what this machine has, what vos-run will use of it, and why.

    The exit code is 1 if something is missing that vos-run needs.
    """
    prepare_process(None)
    rows = [*_machine(), *_codecs()]
    faults = []
    for check in (
        _weights(model),
        _folder("weights folder", _cache()),
        _folder("results folder", out),
    ):
        try:
            rows += check
        except VosError as error:
            faults.append(str(error))
    click.echo(table(rows, align="<"))
    if faults:
        raise VosError("; ".join(faults))


def _machine() -> Iterator[tuple[str, str]]:
    import torch

    from vos.sam.devices import available_device
    from vos.sam.load import best_dtype

    yield "vos", versions()
    num_cores, num_usable = os.cpu_count() or 1, usable_cores()
    reason = "" if num_usable == num_cores else f" of {num_cores}, by affinity or a quota"
    yield "cores", f"{num_usable} may be used{reason}; torch uses {torch.get_num_threads()}"
    # Before torch 2.9 there is no such function.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    units = [unit for unit in ("amx_bf16", "avx512_bf16") if capabilities.get(unit)]
    in_bfloat16 = f"bfloat16 by {' and '.join(units)}" if units else "no bfloat16"
    yield "instructions", f"{torch.backends.cpu.get_cpu_capability()}, {in_bfloat16}"
    for index in range(torch.cuda.device_count()):
        memory_gib = torch.cuda.get_device_properties(index).total_memory / _GIB
        yield f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory_gib:.0f} GiB"
    if not torch.cuda.is_available():
        why = "this torch is built without it" if torch.version.cuda is None else "no GPU is seen"
        yield "CUDA", f"none: {why}"
    device = available_device("auto")
    yield "device used", f"{device}, the fastest here; --device chooses another"
    yield "encoder in", f"{best_dtype(device)}; --dtype chooses another"


def _codecs() -> Iterator[tuple[str, str]]:
    import av

    libraries = av.library_versions
    yield "FFmpeg", f"libavcodec {'.'.join(map(str, libraries['libavcodec']))}, in PyAV"
    for use, codec in _CODECS.items():
        try:
            av.Codec(codec, "w")
        except av.error.FFmpegError:
            yield use, f"no: this PyAV lacks {codec}"
        else:
            yield use, f"yes, by {codec}"


def _weights(model: str) -> Iterator[tuple[str, str]]:
    from vos.sam.weights.download import cached_file
    from vos.sam.weights.registry import find_model

    spec = find_model(model)
    path = cached_file(spec)
    if path is None:
        yield f"weights of {model}", f"not here yet; vos will download {spec.size_text} once"
    else:
        yield f"weights of {model}", "embedded" if spec.url is None else str(path)


def _cache() -> Path:
    from vos.sam.weights.download import cache_folder

    return cache_folder()


def _folder(use: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Say whether a folder can be written to, and how much room it has."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OutputError(f"{there} cannot be written to, so {folder} cannot be made or filled")
    yield use, f"{folder}, {shutil.disk_usage(there).free / _GIB:.1f} GiB free"


def versions() -> str:
    """Give the versions of vos and torch, the device and the model that are used by default."""
    import torch

    import vos
    from vos.sam.devices import available_device

    return f"{vos.__version__} (torch {torch.__version__}, {available_device('auto')}, model nano)"
