"""``vos man``: the help of every command as manual pages.

The site's reference is made of the same :class:`Page`, so that help, manual and site say the same.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from vos.cli.command import option_groups
from vos.errors import OutputError
from vos.files import make_folder, refusals, whole_file

_MANUAL: Final = "vos manual"
_EXIT_CODES: Final = (
    ("0", "Done."),
    ("1", "Bad input. One line says what is wrong and what to do."),
    ("2", "A wrong option."),
    ("130", "Interrupted."),
)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of a help text.

    Attributes:
        text: One line, or several lines that keep their breaks.
        keeps_lines: Whether it is an example, whose lines stay as they are.
    """

    text: str
    keeps_lines: bool


@dataclass(frozen=True, slots=True)
class Page:
    """What the help of one command says.

    Attributes:
        name: As it is typed, such as ``vos export``.
        arguments: What follows the name, such as ``[OPTIONS] RESULTS``.
        summary: One sentence.
        paragraphs: The text of the help.
        groups: Headings and, for each, pairs of a term and what it means.
    """

    name: str
    arguments: str
    summary: str
    paragraphs: tuple[Paragraph, ...]
    groups: dict[str, list[tuple[str, str]]]


def pages() -> Iterator[Page]:
    """Give the page of ``vos``, then one for each of its commands."""
    from vos.cli import program

    group = program("vos")
    if not isinstance(group, click.Group):
        raise TypeError("vos has no commands")
    context = click.Context(group, info_name="vos")
    loaded = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    commands = [(name, command) for name, command in loaded if command is not None]
    subpages = [_page(f"vos {name}", command, context) for name, command in commands]
    overview = _page("vos", group, None)
    summaries = [(page.name, page.summary) for page in subpages]
    yield Page(
        overview.name,
        overview.arguments,
        overview.summary,
        overview.paragraphs,
        {"Commands": summaries, **overview.groups},
    )
    yield from subpages


def _page(name: str, command: click.Command, parent: click.Context | None) -> Page:
    context = command.context_class(command, info_name=name.split()[-1], parent=parent)
    groups = option_groups(command, context)
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    paragraphs = tuple(_paragraph(part) for part in re.split(r"\n\s*\n", text) if part.strip())
    return Page(
        name=name,
        arguments=" ".join(command.collect_usage_pieces(context)),
        summary=paragraphs[0].text,
        paragraphs=paragraphs,
        groups={heading: records for heading, records in groups.items() if records},
    )


def _paragraph(text: str) -> Paragraph:
    if text.startswith("\b"):
        return Paragraph(text.removeprefix("\b").strip("\n"), keeps_lines=True)
    return Paragraph(" ".join(text.split()), keeps_lines=False)


def to_roff(page: Page, version: str) -> str:
    """Write a page in the language of ``man``.

    Args:
        page: The page.
        version: Of vos, for the page's foot.
    """
    file_name = page.name.replace(" ", "-")
    lines = [
        f'.TH "{file_name.upper()}" "1" "" "vos {version}" "{_MANUAL}"',
        ".SH NAME",
        f"{_escaped(file_name)} \\- {_escaped(page.summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(page.name)}",
        _escaped(page.arguments),
        ".SH DESCRIPTION",
    ]
    for paragraph in page.paragraphs:
        if paragraph.keeps_lines:
            lines += [".PP", ".nf", _escaped(paragraph.text), ".fi"]
        else:
            lines += [".PP", _escaped(paragraph.text)]
    for heading, records in page.groups.items():
        lines.append(f'.SH "{_escaped(heading.upper())}"')
        for term, meaning in records:
            lines += [".TP", f".B {_escaped(term)}", _escaped(meaning)]
    lines.append('.SH "EXIT STATUS"')
    for code, meaning in _EXIT_CODES:
        lines += [".TP", f".B {code}", _escaped(meaning)]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    # A line that begins with a dot or a quote would be an instruction.
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


@click.command("man")
@click.argument("command", default="")
@click.option(
    "--install",
    is_flag=True,
    help="Write the pages of all commands to share/man/man1 of this Python's environment, where "
    "man looks for them as long as the environment's bin folder is on the PATH.",
)
def man_command(command: str, install: bool) -> None:
    """Print the manual page of vos, or of one COMMAND.

    \b
      vos man | man -l -
      vos man export > vos-export.1
      vos man --install && man vos-export
    """  # noqa: D301
    import vos

    by_name = {page.name: page for page in pages()}
    if not install:
        page = by_name.get(f"vos {command}".strip())
        if page is None:
            raise click.BadParameter(f"there is no command {command!r}", param_hint="COMMAND")
        click.echo(to_roff(page, vos.__version__), nl=False)
        return
    if command:
        raise click.UsageError("--install writes the pages of all commands; leave COMMAND out")
    folder = Path(sys.prefix, "share", "man", "man1")
    files = {folder / f"{name.replace(' ', '-')}.1": page for name, page in by_name.items()}
    for path in files:  # OpenAFS, for one, has a page vos.1 too
        if path.exists() and not _is_of_vos(path):
            raise OutputError(
                f"{path} is the manual page of another program; install vos into a virtual "
                "environment of its own, or write pages elsewhere with vos man COMMAND"
            )
    make_folder(folder)
    for path, page in files.items():
        with refusals(f"write {path}"), whole_file(path) as unfinished:
            unfinished.write_text(to_roff(page, vos.__version__), encoding="utf-8")
    click.echo(f"{len(by_name)} pages in {folder}; try: man vos")


def _is_of_vos(path: Path) -> bool:
    with refusals(f"read {path}"), path.open("rb") as page:
        return page.readline().rstrip().endswith(f'"{_MANUAL}"'.encode())
