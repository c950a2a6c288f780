"""The choice of a method on a benchmark's command line."""

from __future__ import annotations

import click

import vos
from vos.config import METHODS, SAM2_SIZES, Prior

PRIORS: tuple[Prior, ...] = ("none", "box")
CONFIGS = {
    "published": vos.RunConfig.published(),
    "memory": vos.RunConfig(),
    **{
        f"{name}-{prior}": vos.RunConfig(method=METHODS[name](prior=prior))
        for name in ("persam-f", "persam")
        for prior in PRIORS
    },
    "cutie": vos.RunConfig(method=vos.Cutie()),
    **{f"sam2.1-{size}": vos.RunConfig(method=vos.Sam2(size=size)) for size in SAM2_SIZES},
}

method_option = click.option(
    "--method",
    type=click.Choice(list(CONFIGS)),
    help="The method, with its prior; the published one if left out.",
)


def chosen(method: str | None) -> tuple[vos.RunConfig, str]:
    """Give the settings, and what a row says of them."""
    name = method or "published"
    return CONFIGS[name], name if name == "published" else f"method={name}"
