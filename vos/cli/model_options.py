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
        "sam_hq_vit_h; see vos models. With --method cutie and sam2.1-* it only makes masks of "
        "clicks and boxes.",
    ),
    click.option(
        "--checkpoint",
        cls=ModelOption,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Weights of that model, instead of the registered ones; of the method's own network "
        "with --method cutie and sam2.1-*.",
    ),
    click.option(
        "--features",
        cls=ModelOption,
        type=click.Choice([_OWN_FEATURES, *FEATURES]),
        default=_OWN_FEATURES,
        show_default=True,
        help="What the methods compare parts of frames by: SAM's own features, or with them those "
        "of DINOv2, which needs vos-persam[models].",
    ),
    click.option(
        "--features-weight",
        cls=ModelOption,
        type=click.FloatRange(0, 1, min_open=True),
        metavar="SHARE",
        help="Share of DINOv2's cosine similarity; the rest is SAM's.  [default: 0.5]",
    ),
    click.option(
        "--features-checkpoint",
        cls=ModelOption,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Weights of the model of --features, instead of the registered ones.",
    ),
    click.option(
        "--device",
        cls=ModelOption,
        default="auto",
        show_default=True,
        help="auto, cpu, cuda, cuda:N or mps.",
    ),
    click.option(
        "--dtype",
        cls=ModelOption,
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        help="Arithmetic of the image encoder. On a processor with AMX bfloat16 is nearly twice as "
        "fast, and masks change a little.",
    ),
    click.option(
        "--threads",
        "num_threads",
        cls=ModelOption,
        type=click.IntRange(1),
        metavar="N",
        help="Threads of the arithmetic on a CPU.  [default: the cores that vos may use]",
    ),
    click.option(
        "--skip-padding",
        cls=ModelOption,
        is_flag=True,
        help="Leave out most of the padding that makes a frame square in the image encoder. It is "
        "faster with large models, and masks change a little. The method memory crops squares, so "
        "it gains nothing.",
    ),
    click.option(
        "--compile",
        "compiled",
        cls=ModelOption,
        is_flag=True,
        help="Compile the image encoder, which takes a minute; on a CPU it gains nothing.",
    ),
    click.option(
        "-q",
        "--quiet",
        cls=OutputOption,
        is_flag=True,
        help="No progress and no advice, only warnings and the closing lines.",
    ),
)

max_pixels_option = click.option(
    "--max-pixels",
    cls=InputOption,
    type=click.IntRange(1),
    default=1 << 27,
    show_default="134 million, enough for 16K",
    metavar="N",
    help="Refuse larger frames, pictures and masks; a small file may unpack to a huge picture.",
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
