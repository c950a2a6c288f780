"""What the commands that run a model have in common: options, progress, the closing line."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vos.config import (
    METHODS,
    PRIOR_POLICIES,
    AbsenceConfig,
    FitConfig,
    Method,
    PriorPolicy,
    RunConfig,
)

if TYPE_CHECKING:
    from vos.run.outputs import Pair

# Python refuses to read numbers of thousands of digits.
_SECONDS = re.compile(r"(?:(?:(?P<h>\d{1,9}):)?(?P<m>\d{1,9}):)?(?P<s>\d+(?:\.\d+)?)s?")
_MAX_DIGITS = 18
_SECONDS_BETWEEN_LINES = 30.0

_MODEL_OPTIONS = (
    click.option(
        "--model",
        default="nano",
        show_default=True,
        metavar="NAME",
        help="nano (embedded), mobile_sam, vit_b, vit_l or vit_h; see vos models.",
    ),
    click.option(
        "--checkpoint",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Weights of that model, instead of the registered ones.",
    ),
    click.option(
        "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
    ),
    click.option(
        "--dtype",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        help="Arithmetic of the image encoder.",
    ),
    click.option(
        "--skip-padding",
        is_flag=True,
        help="Leave out of the image encoder most of the padding that makes a frame square: a "
        "third faster with large models, and masks change a little. The prior memory looks at "
        "squares and gains nothing.",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the image encoder, which takes a minute; on a CPU it gains nothing.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        metavar="N",
        help="Frames encoded together.  [default: 1 on a CPU, 8 on a GPU]",
    ),
    click.option(
        "--method",
        default="persam_f",
        show_default=True,
        type=click.Choice(list(METHODS)),
        help="persam_f fits two weights to the reference; persam fits nothing.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress, only the closing line."),
)

_VIDEO_OPTIONS = (
    click.option(
        "--prior",
        type=click.Choice(list(PRIOR_POLICIES)),
        help="What carries over from frame to frame: cells of the reference and of the last frames "
        "(memory), the published box and its centre (box), or nothing (none).  [default: memory; "
        "box with --method persam or --published]",
    ),
    click.option(
        "--fit-steps",
        type=click.IntRange(0),
        default=FitConfig().num_steps,
        show_default=True,
        metavar="N",
        help="Steps of the scale fit; the prior memory has a fit of its own.",
    ),
    click.option(
        "--published",
        is_flag=True,
        help="The published method to the letter: nothing but an empty mask counts as absence.",
    ),
)


_IMAGE_OPTIONS = (
    click.option(
        "--fit-steps",
        type=click.IntRange(0),
        default=RunConfig.for_images().fit.num_steps,
        show_default=True,
        metavar="N",
        help="Steps of the scale fit.",
    ),
)


max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=1 << 27,
    show_default="134217728, enough for 16K",
    metavar="N",
    help="Refuse frames, pictures and masks of more pixels, which small files may unpack to.",
)


class Moment(click.ParamType[int | float]):
    """A frame's number (``250``) or a time (``2.5s``, ``1:30``, ``1:02:03.5``)."""

    name = "frame|time"

    def convert(
        self, value: str | int | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        """Read a frame number as int, a time as float seconds."""
        if not isinstance(value, str):
            return value
        if value.isdecimal() and len(value) <= _MAX_DIGITS:
            return int(value)
        match = _SECONDS.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is neither a frame number nor a time as 2.5s or 1:30", param, ctx)
        return int(match["h"] or 0) * 3600 + int(match["m"] or 0) * 60 + float(match["s"])


def inference_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of model and method to a command, to be read by :func:`run_config`."""
    for option in reversed((*_MODEL_OPTIONS, *_VIDEO_OPTIONS)):
        command = option(command)
    return command


def image_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of model and method to a command, to be read by :func:`image_config`."""
    for option in reversed((*_MODEL_OPTIONS, *_IMAGE_OPTIONS)):
        command = option(command)
    return command


def run_config(
    method: Method,
    prior: PriorPolicy | None,
    fit_steps: int,
    published: bool,
    batch_size: int | None,
) -> RunConfig:
    """Turn the options into settings."""
    if prior is None:
        prior = "box" if published or method != "persam_f" else "memory"
    if published and prior == "memory":
        raise click.UsageError("--published knows no --prior memory; take box or none")
    return RunConfig(
        method=method,
        prior=prior,
        fit=FitConfig(num_steps=fit_steps),
        absence=None if published else AbsenceConfig(),
        batch_size=batch_size,
    )


def image_config(
    method: Method, fit_steps: int, batch_size: int | None, *, maybe_absent: bool = False
) -> RunConfig:
    """Turn the options into settings of sets of images."""
    config = RunConfig.for_images(method)
    return replace(
        config,
        fit=replace(config.fit, num_steps=fit_steps),
        absence=AbsenceConfig() if maybe_absent else None,
        batch_size=batch_size,
    )


def print_progress(
    pairs: Iterable[Pair],
    num_frames: int | None,
    written: Sequence[Path],
    *,
    quiet: bool,
    unit: str = "frame",
    num_before: int = 0,
    is_stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Pull all frames through the sinks; a bar on a terminal, a line now and then elsewhere.

    Args:
        pairs: What comes out of the sinks.
        num_frames: How many there will be, if that is known.
        written: Where the results are, for the closing line.
        quiet: Whether only the closing line is printed.
        unit: What to call a frame.
        num_before: Frames done by an earlier run.
        is_stopped: Asked after every frame.

    Returns:
        Whether all frames were pulled; False if it was stopped.
    """
    from tqdm import tqdm

    started = last_line = time.monotonic()
    is_terminal = sys.stderr.isatty()
    num_done = 0
    is_done = True
    with tqdm(
        pairs, total=num_frames, unit=unit, disable=quiet or not is_terminal, leave=False
    ) as bar:
        for _ in bar:
            num_done += 1
            now = time.monotonic()
            if not quiet and not is_terminal and now - last_line > _SECONDS_BETWEEN_LINES:
                last_line = now
                of = f" of about {num_frames}" if num_frames else ""
                click.echo(f"{num_done}{of} {unit}s, {num_done / (now - started):.2f} per second")
            if is_stopped():
                is_done = False
                break
    seconds = time.monotonic() - started
    before = f" after {num_before} before" if num_before else ""
    click.echo(
        f"{num_done} {unit}s{before} in {seconds:.1f} s ({num_done / seconds:.2f} per second): "
        + ", ".join(map(str, written))
    )
    return is_done
