"""What the commands that run a model have in common: options, progress, the closing line."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vos.cli.method_options import image_method_options, method_options
from vos.config import SKIP_PADDING

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
        default="none",
        show_default=True,
        type=click.Choice(SKIP_PADDING),
        help="Where to leave out most of the padding that makes a frame square. decoder: up to a "
        "third faster with many objects, and masks hardly change; all: in the image encoder "
        "too, and masks change a little. The method memory encodes squares and gains nothing.",
    ),
    click.option(
        "--compile",
        "compiled",
        is_flag=True,
        help="Compile the image encoder, which takes a minute; on a CPU it gains nothing.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress, only the closing line."),
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
    """Add the options of the model and of a video's method to a command."""
    return _model_options(method_options(command))


def image_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the model and of a set's method to a command."""
    return _model_options(image_method_options(command))


def _model_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_MODEL_OPTIONS):
        command = option(command)
    return command


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
