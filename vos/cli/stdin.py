"""The standard input where a file is asked for."""

from __future__ import annotations

import click

_STDIN = "/dev/stdin"


class StandardInput(click.ParamType[str]):
    """A path or an address; ``-`` is the standard input."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Give the standard input its own name."""
        return _STDIN if value == "-" else value
