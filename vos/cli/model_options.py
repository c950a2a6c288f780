"""The options of the model, which several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from vos.cli.command import InputOption, ModelOption, OutputOption
from vos.errors import MissingPackageError
from vos.sam.weights.registry import FEATURES, MODELS, check_installed

if TYPE_CHECKING:
    from vos.run.job import ModelChoice

F = TypeVar("F", bound=Callable[..., object])

_OWN_FEATURES: Final = "sam"

_OPTIONS = (
    click.option(
        "--model",
        cls=ModelOption,
        default="nano",
        show_default=True,
        metavar="NAME",
        help="nano (embedded), mobile_sam, vit_b, vit_l, vit_h, sam_hq_vit_b, sam_hq_vit_l or "
        "sam_hq_vit_h; vos models lists them. With --method cutie and sam2.1-*, this model only "
        "turns clicks and boxes into masks.",
    ),
    click.option(
        "--checkpoint",
        cls=ModelOption,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File of weights for --model, instead of a download. With --method cutie and "
        "sam2.1-*, weights of that network.",
    ),
    click.option(
        "--features",
        cls=ModelOption,
        type=click.Choice([_OWN_FEATURES, *FEATURES]),
        default=_OWN_FEATURES,
        show_default=True,
        help="Features by which the method compares parts of frames: SAM's alone, or SAM's and "
        "DINOv2's together. DINOv2 needs pip install 'vos-persam[models]'.",
    ),
    click.option(
        "--features-weight",
        cls=ModelOption,
        type=click.FloatRange(0, 1, min_open=True),
        metavar="SHARE",
        help="Weight of DINOv2's similarity in the sum of both.  [default: 0.5]",
    ),
    click.option(
        "--features-checkpoint",
        cls=ModelOption,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File of weights for --features, instead of a download.",
    ),
    click.option(
        "--device",
        cls=ModelOption,
        default="auto",
        show_default=True,
        help="Where to compute: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if there is one.",
    ),
    click.option(
        "--dtype",
        cls=ModelOption,
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        help="Number format of the image encoder. On a processor with AMX, bfloat16 is faster; "
        "masks change a little.",
    ),
    click.option(
        "--threads",
        "num_threads",
        cls=ModelOption,
        type=click.IntRange(1),
        metavar="N",
        help="Threads to compute with on a CPU.  [default: the cores that vos may use]",
    ),
    click.option(
        "--skip-padding",
        cls=ModelOption,
        is_flag=True,
        help="Do not encode most of the padding that makes a frame square. Large models become "
        "faster; masks change a little. The method memory encodes square crops, so it gains "
        "nothing.",
    ),
    click.option(
        "--compile",
        "compiled",
        cls=ModelOption,
        is_flag=True,
        help="Compile the image encoder, which takes a minute. On a CPU it gains nothing.",
    ),
    click.option(
        "-q",
        "--quiet",
        cls=OutputOption,
        is_flag=True,
        help="Print no progress and no advice, only warnings and the last lines.",
    ),
)

max_pixels_option = click.option(
    "--max-pixels",
    cls=InputOption,
    type=click.IntRange(1),
    default=1 << 27,
    show_default="134 million, enough for 16K",
    metavar="N",
    help="Refuse frames, pictures and masks of more pixels. It protects the memory: a small file "
    "may unpack to a huge picture.",
)


class _NotInstalled(click.ClickException):
    """An option needs a package that is not there."""

    exit_code = 2


def model_options(command: F) -> F:
    """Add the options of the model to a command, to be read by :func:`model_choice`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def model_choice(ctx: click.Context) -> ModelChoice:
    """Read the options of the model.

    Raises:
        click.ClickException: an option belongs to another choice of features, or a package that
            the model needs is not installed.
    """
    from vos.config import Features
    from vos.run.job import ModelChoice

    options = ctx.params
    of_features = {
        name: options[f"features_{name}"]
        for name in ("weight", "checkpoint")
        if options[f"features_{name}"] is not None
    }
    features = None
    if options["features"] != _OWN_FEATURES:
        features = Features(name=options["features"], **of_features)
    elif of_features:
        raise click.UsageError(
            f"--features-{next(iter(of_features))} belongs to --features {', '.join(FEATURES)}; "
            f"the features here are {_OWN_FEATURES}"
        )
    for spec in (MODELS.get(options["model"]), FEATURES.get(options["features"])):
        try:
            if spec is not None:
                check_installed(spec)
        except MissingPackageError as error:
            raise _NotInstalled(str(error)) from error
    names = ("checkpoint", "device", "dtype", "compiled", "skip_padding")
    return ModelChoice(
        name=options["model"], features=features, **{name: options[name] for name in names}
    )
