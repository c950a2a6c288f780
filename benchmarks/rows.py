"""Rows of results: what every benchmark states beside its figures, and where rows go."""

from __future__ import annotations

import csv
import datetime
import platform
import resource
from importlib import metadata
from pathlib import Path

import vos

Row = dict[str, str | int | float]


def environment() -> Row:
    """The versions and the machine that a row was measured with."""
    return {
        "date": datetime.date.today().isoformat(),
        "vos": vos.__version__,
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def processor() -> str:
    """The processor's own name, where the system tells it, and the instructions that torch uses."""
    # Not above: benchmarks of what needs no torch would count it in their memory.
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, 'unknown')}, {torch.backends.cpu.get_cpu_capability()}"


def peak_mib() -> int:
    """Peak memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def append_row(path: Path, row: Row) -> None:
    """Print a row and append it to a CSV file with a header."""
    print(row)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def markdown(columns: dict[str, str], rows: list[dict[str, str]]) -> str:
    """One table."""
    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [[row[name] for name in columns] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def put_table(document: Path, benchmark: str, text: str, part: str = "") -> None:
    """Replace what stands between a benchmark's marks in a document.

    Args:
        document: Markdown.
        benchmark: The name of its script, without suffix.
        text: The table.
        part: Which of the benchmark's tables it is, where it has several.
    """
    name = f"benchmarks/{benchmark}.py" + (f", {part}" if part else "")
    begin, end = f"<!-- table of {name} -->\n", "<!-- end of table -->\n"
    before, rest = document.read_text().split(begin)
    _, after = rest.split(end, maxsplit=1)
    document.write_text(f"{before}{begin}\n{text}{end}{after}")
