"""The options of the methods, and the settings they make."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

import click
from click.core import ParameterSource

from vos.cli.command import MethodOption
from vos.config import (
    PRIORS,
    SAM2_SIZES,
    AbsenceConfig,
    Cutie,
    FitConfig,
    Memory,
    Method,
    Persam,
    PersamF,
    PublishedMethod,
    RunConfig,
    Sam2,
)

F = TypeVar("F", bound=Callable[..., object])

INSTANCE_RATIO: Final = PersamF().instance_similarity_ratio

_OF_PUBLISHED: Final = (PersamF.name, Persam.name)
_OF_SAM: Final = (Memory.name, *_OF_PUBLISHED)

METHODS_BY_OPTION: Final[dict[str, Method]] = {
    Memory.name: Memory(),
    PersamF.name: PersamF(),
    Persam.name: Persam(),
    Cutie.name: Cutie(),
    **{f"{Sam2.name}-{size}": Sam2(size=size) for size in SAM2_SIZES},
}
"""What --method takes, and the settings that each begins with."""

_OF_MODEL: Final = {
    "model": "--model",
    "dtype": "--dtype",
    "features": "--features",
    "skip_padding": "--skip-padding",
    "compiled": "--compile",
}
"""Options of the model that are of no use to a network of a method's own."""

_BATCH_SIZE: Final = click.option(
    "--batch-size",
    cls=MethodOption,
    type=click.IntRange(1),
    metavar="N",
    help="persam-f, persam: frames to encode together.  [default: 1 on a CPU, 8 on a GPU]",
)

_VIDEO_OPTIONS: Final = (
    click.option(
        "--method",
        cls=MethodOption,
        type=click.Choice(list(METHODS_BY_OPTION)),
        help="memory remembers parts of the reference and of the last frames. persam-f fits two "
        "weights to the reference. persam fits nothing. cutie and sam2.1-* are trackers by other "
        "authors; they need pip install 'vos-persam[cutie]' or 'vos-persam[models]'.  [default: "
        "memory; persam-f with --published]",
    ),
    click.option(
        "--prior",
        cls=MethodOption,
        type=click.Choice(PRIORS),
        help="persam-f, persam: what to prompt with from the frame before: the box of its mask, as "
        "published, or nothing.  [default: box]",
    ),
    click.option(
        "--fit-steps",
        cls=MethodOption,
        type=click.IntRange(0),
        metavar="N",
        help=f"persam-f: steps of the fit to the reference.  [default: {FitConfig().num_steps}]",
    ),
    _BATCH_SIZE,
    click.option(
        "--published",
        cls=MethodOption,
        is_flag=True,
        help="persam-f, persam: exactly the published method. It calls an object absent only if "
        "its mask is empty.",
    ),
)

_IMAGE_OPTIONS: Final = (
    click.option(
        "--method",
        cls=MethodOption,
        type=click.Choice(_OF_PUBLISHED),
        default=PersamF.name,
        show_default=True,
        help="persam-f fits two weights to the reference. persam fits nothing.",
    ),
    click.option(
        "--fit-steps",
        cls=MethodOption,
        type=click.IntRange(0),
        metavar="N",
        help="persam-f: steps of the fit to the reference.  [default: "
        f"{PersamF.for_images().fit.num_steps}]",
    ),
    _BATCH_SIZE,
)


def method_options(command: F) -> F:
    """Add the options of a video's method to a command, to be read by :func:`method_config`."""
    for option in reversed(_VIDEO_OPTIONS):
        command = option(command)
    return command


def image_method_options(command: F) -> F:
    """Add the options of a set's method to a command, to be read by :func:`image_config`."""
    for option in reversed(_IMAGE_OPTIONS):
        command = option(command)
    return command


def method_config(ctx: click.Context) -> RunConfig:
    """Turn the options of :func:`method_options` into settings.

    Raises:
        click.UsageError: an option belongs to another method, or the package of the method's
            network is not installed.
    """
    options = ctx.params
    published, fit_steps = options["published"], options["fit_steps"]
    method = options["method"] or (PersamF.name if published else Memory.name)
    _refuse("--prior", options["prior"], method, _OF_PUBLISHED)
    _refuse("--fit-steps", fit_steps, method, (PersamF.name,))
    _refuse("--batch-size", options["batch_size"], method, _OF_PUBLISHED)
    _refuse("--published", published or None, method, _OF_PUBLISHED)
    settings = METHODS_BY_OPTION[method]
    if isinstance(settings, Cutie | Sam2):
        _check_network(ctx, method)
    if not isinstance(settings, PublishedMethod):
        return RunConfig(method=settings)
    if fit_steps is not None and isinstance(settings, PersamF):
        settings = replace(settings, fit=FitConfig(num_steps=fit_steps))
    return RunConfig(
        method=replace(
            settings,
            prior=options["prior"] or "box",
            absence=None if published else AbsenceConfig(),
            batch_size=options["batch_size"],
        )
    )


def image_config(
    ctx: click.Context,
    *,
    maybe_absent: bool = False,
    connected: bool = False,
    instance_ratio: float = INSTANCE_RATIO,
) -> RunConfig:
    """Turn the options of :func:`image_method_options` into settings of sets of images.

    Args:
        ctx: Holds the options.
        maybe_absent: Whether a picture may lack an object.
        connected: Whether masks are in one piece.
        instance_ratio: Share of the first instance's similarity that a further one needs.

    Raises:
        click.UsageError: an option belongs to another method.
    """
    method, fit_steps = ctx.params["method"], ctx.params["fit_steps"]
    _refuse("--fit-steps", fit_steps, method, (PersamF.name,))
    settings = PersamF.for_images() if method == PersamF.name else Persam.for_images()
    if fit_steps is not None and isinstance(settings, PersamF):
        settings = replace(settings, fit=replace(settings.fit, num_steps=fit_steps))
    return RunConfig(
        method=replace(
            settings,
            absence=AbsenceConfig() if maybe_absent else None,
            connected=connected,
            instance_similarity_ratio=instance_ratio,
            batch_size=ctx.params["batch_size"],
        )
    )


def _check_network(ctx: click.Context, method: str) -> None:
    """Check the options of the model where the method has a network of its own."""
    for name, option in _OF_MODEL.items():
        is_given = ctx.params.get(name) is not None and (
            ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
        )
        if is_given and not (name == "model" and _may_have_hints(ctx)):
            _refuse(option, ctx.params[name], method, _OF_SAM)
    package = "cutie" if method == Cutie.name else "transformers"
    if importlib.util.find_spec(package) is None:
        extra = "cutie" if method == Cutie.name else "models"
        raise click.UsageError(
            f"--method {method} needs a package that is not installed: "
            f"pip install 'vos-persam[{extra}]'"
        )


def _may_have_hints(ctx: click.Context) -> bool:
    """Tell whether a model is needed for clicks and boxes; the jobs of a batch may have some."""
    return any(ctx.params.get(name) for name in ("ref_points", "ref_boxes", "manifest"))


def _refuse(option: str, value: object, method: str, owners: tuple[str, ...]) -> None:
    """Refuse an option that was given and belongs to other methods."""
    if value is not None and method not in owners:
        *others, last = owners
        names = f"{', '.join(others)} and {last}" if others else last
        raise click.UsageError(f"{option} belongs to --method {names}; the method here is {method}")
