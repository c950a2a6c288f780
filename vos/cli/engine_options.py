"""The options of an engine: how many workers there are, and where."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from vos.cli.command import ModelOption

if TYPE_CHECKING:
    from vos.batch.engines import Engine

F = TypeVar("F", bound=Callable[..., object])

_OPTIONS = (
    click.option(
        "--workers",
        "num_workers",
        cls=ModelOption,
        type=click.IntRange(1),
        metavar="N",
        help="Processes that work at the same time, each on one video. The cores are divided among "
        "them; GPUs are assigned in turn.  [default: 1; with ray all GPUs or cores of the cluster]",
    ),
    click.option(
        "--engine",
        "engine_name",
        cls=ModelOption,
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="local is this machine. ray is a cluster; it needs pip install 'vos-persam[ray]'.",
    ),
    click.option(
        "--tries",
        "max_tries",
        cls=ModelOption,
        type=click.IntRange(1),
        default=3,
        show_default=True,
        metavar="K",
        help="Try a video up to K times where another try may help: after a failure of the "
        "network, lack of memory, or a killed worker.",
    ),
)


def engine_options(command: F) -> F:
    """Add the options of an engine to a command, to be read by :func:`make_engine`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_engine(ctx: click.Context) -> tuple[Engine, int | None]:
    """Make the engine, and give the threads of each of its workers; None for all there are.

    Raises:
        InputError: ray is not installed, or its cluster cannot be reached.
    """
    from vos.batch.engines import local_engine, threads_per_worker

    options = ctx.params
    num_workers, num_threads = options["num_workers"], options["num_threads"]
    if options["engine_name"] == "ray":
        from vos.batch.on_ray import ray_engine

        return ray_engine(num_workers, num_threads=num_threads, device=options["device"])
    num_workers = num_workers or 1
    num_threads = threads_per_worker(num_workers, num_threads)
    engine = local_engine(num_workers, num_threads=num_threads, device=options["device"])
    return engine, num_threads


def for_workers(path: Path, ctx: click.Context) -> Path:
    """Give a path by which workers find it; those of a cluster have other working folders."""
    return path.absolute() if ctx.params["engine_name"] == "ray" else path


class Shard(click.ParamType[tuple[int, int]]):
    """``I/N``: the Ith of N shards, from 0."""

    name = "I/N"

    def convert(
        self,
        value: str | tuple[int, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, int]:
        """Read both numbers."""
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", value)
        if match is None or int(match[1]) >= int(match[2]):
            self.fail(f"{value!r} is not I/N with I from 0 to N - 1, such as 0/8", param, ctx)
        return int(match[1]), int(match[2])
