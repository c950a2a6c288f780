"""Commands whose options come in groups, in the help and in the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def version_option(command: Decorated) -> Decorated:
    """Add ``--version``, which says with what vos runs as well; torch is loaded only for that."""

    def show(ctx: click.Context, param: click.Parameter, is_given: bool) -> None:
        if is_given:
            from vos.cli.doctor import versions

            click.echo(f"{ctx.find_root().info_name} {versions()}")
            ctx.exit()

    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show the versions of vos and torch, the device and the model, and exit.",
    )(command)


class InputOption(click.Option):
    """What is read."""

    heading: ClassVar[str] = "Input"


class ObjectsOption(click.Option):
    """What shows the objects."""

    heading: ClassVar[str] = "Objects"


class OutputOption(click.Option):
    """What is written."""

    heading: ClassVar[str] = "Output"


class MethodOption(click.Option):
    """How the objects are found."""

    heading: ClassVar[str] = "Method"


class ModelOption(click.Option):
    """With which model, and how fast."""

    heading: ClassVar[str] = "Model and speed"


_OTHER = "Other"


class Command(click.Command):
    """A command that lists its options group by group.

    Its function gets the context alone and reads ``ctx.params`` a group at a time, so that no
    function has dozens of parameters.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function with the context."""
        return None if self.callback is None else self.callback(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order in which they were declared."""
        for heading, records in option_groups(self, ctx).items():
            with formatter.section(heading):
                formatter.write_dl(records)


def option_groups(command: click.Command, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
    """Give each heading's options and what they do; those without a heading come last."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None and isinstance(parameter, click.Option):
            groups.setdefault(getattr(parameter, "heading", _OTHER), []).append(record)
    groups[_OTHER] = groups.pop(_OTHER, [])
    return groups
