"""What the pages of docs/ tell people to type are commands and options that there are."""

import re
import shlex
from pathlib import Path

import pytest

from vos.cli import program

DOCS = Path(__file__).resolve().parents[1] / "docs"
PROGRAMS = ("vos", "vos-run", "vos-eval")
# What stands for a file, a URL or the rest of a line.
NOT_TYPED = ("...", "COMMAND", "FORMAT ")


def commands() -> list[str]:
    """The commands of all blocks and of all code in tables."""
    lines = []
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        for block in re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            lines += re.sub(r"\\\n\s*", " ", block).splitlines()
        for row in re.findall(r"^\|.*\|$", text, re.MULTILINE):
            lines += re.findall(r"`(vos[- ][^`]*)`", row)
    stripped = (re.split(r"\s#|\s(?:&&|[|>])\s", line)[0].strip() for line in lines)
    typed = (line for line in stripped if line.split(" ")[0] in PROGRAMS and " " in line)
    return [*dict.fromkeys(line for line in typed if not any(each in line for each in NOT_TYPED))]


def test_there_are_commands_to_parse():
    assert len(commands()) > 40


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_docs_can_be_parsed(line):
    name, *args = shlex.split(line.replace("$SLURM_ARRAY_TASK_ID", "3"))
    command = program(name)
    if name == "vos":
        name, *args = args
        command = command.get_command(None, name)
        assert command is not None, f"there is no vos {name}"
    command.make_context(name, args).close()
