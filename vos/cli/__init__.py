"""The command line: the only part of vos that prints and exits.

Commands are imported when they are called, and they import torch, av and the like themselves, so
that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from vos.cli.command import version_option
from vos.cli.interrupt import INTERRUPTED
from vos.errors import VosError, is_out_of_memory

_COMMANDS = {
    "run": ("vos.cli.run:run_command", "Segment objects in a video, from a mask, click or box."),
    "app": ("vos.cli.app:app_command", "Open a page to click objects, track and correct them."),
    "frame": ("vos.cli.frame:frame_command", "Write a frame as a picture, to paint a mask on."),
    "export": ("vos.cli.export:export_command", "Export results for editors and trainers."),
    "review": ("vos.cli.review:review_command", "List the frames that are likely wrong."),
    "images": ("vos.cli.images:images_command", "Find the objects of one picture in many others."),
    "perseg": ("vos.cli.perseg:perseg_command", "Run and score a set of images in PerSeg layout."),
    "eval": ("vos.cli.evaluate:eval_command", "Score masks against annotations: DAVIS J&F."),
    "davis": ("vos.cli.davis:davis_command", "Run and score a whole data set in DAVIS layout."),
    "batch": ("vos.cli.batch:batch_command", "Segment many videos, on one machine or on many."),
    "synth": ("vos.cli.synth:synth_command", "Write a synthetic clip with exact masks."),
    "models": (
        "vos.cli.models:models_command",
        "List the models: size, licence, downloaded or not.",
    ),
    "doctor": ("vos.cli.doctor:doctor_command", "Say what this machine has and what vos will use."),
    "completion": (
        "vos.cli.completion:completion_command",
        "Print the completion script of a shell.",
    ),
    "man": ("vos.cli.manual:man_command", "Print the manual pages, or install them for man."),
}


class _LateGroup(click.Group):
    """A group that knows its commands' names and first lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name) if cmd_name in _COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(cls=_LateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@version_option
def _group() -> None:
    """Segment objects in videos, from one click, box or mask."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run ``vos``."""
    _run("vos", args)


def run_main(args: Sequence[str] | None = None) -> NoReturn:
    """Run ``vos-run``, the same as ``vos run``."""
    _run("vos-run", args)


def eval_main(args: Sequence[str] | None = None) -> NoReturn:
    """Run ``vos-eval``, the same as ``vos eval``."""
    _run("vos-eval", args)


def program(name: str) -> click.Command:
    """Give the command behind ``vos``, ``vos-run`` or ``vos-eval``."""
    return _group if name == "vos" else _load(name.removeprefix("vos-"))


class _Plain(logging.Formatter):
    """Messages as they are; only warnings say what they are."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        return message if record.levelno < logging.WARNING else f"warning: {message}"


def _load(name: str) -> click.Command:
    module, _, attribute = _COMMANDS[name][0].partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


def _run(name: str, args: Sequence[str] | None) -> NoReturn:
    """Run a program to its exit code: 0 done, 1 bad input, 2 a wrong option, 130 interrupted."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain())
    logger = logging.getLogger("vos")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        program(name).main(args, prog_name=name, standalone_mode=False)
    except VosError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo(f"interrupted: {error}" if str(error) else "interrupted", err=True)
        sys.exit(INTERRUPTED)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        click.echo("error: out of memory; take a smaller model or another device", err=True)
        sys.exit(1)
    finally:
        logger.removeHandler(handler)
    sys.exit(0)
