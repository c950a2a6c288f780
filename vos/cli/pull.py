"""Pulling a video through its sinks until it ends, breaks off or is stopped."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

import click

from vos.cli.interrupt import stopping_on_interrupt
from vos.cli.options import print_progress
from vos.errors import DamagedSourceError, VosError

if TYPE_CHECKING:
    from vos.run.outputs import Outputs
    from vos.sink.passing import Pair


def pull(
    results: Generator[Pair, None, None],
    outputs: Outputs,
    num_frames: int | None,
    num_before: int,
    *,
    quiet: bool,
) -> None:
    """Pull all frames through the sinks, and say what is left if that breaks off."""
    try:
        with stopping_on_interrupt() as stop, closing(results):
            is_done = print_progress(
                results,
                num_frames,
                outputs.written,
                quiet=quiet,
                num_before=num_before,
                is_stopped=stop.is_set,
            )
    except VosError as error:
        raise type(error)(f"{error}{_what_is_left(outputs, error)}") from error
    except KeyboardInterrupt as error:
        raise click.Abort(_what_is_left(outputs).removeprefix("; ")) from error
    if not is_done:
        raise click.Abort(_what_is_left(outputs).removeprefix("; "))


def _what_is_left(outputs: Outputs, error: VosError | None = None) -> str:
    if isinstance(error, DamagedSourceError):
        return f"; the results of the good frames are in {outputs.masks_folder}"
    if outputs.state_path.exists():
        return (
            f"; what is done is kept in {outputs.masks_folder}: the same command goes on with it "
            "with --resume"
        )
    if error is None and outputs.masks_folder.exists():
        return f"; the results so far are in {outputs.masks_folder}, and cannot be resumed"
    return ""
