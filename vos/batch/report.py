"""What became of a batch: ``batch.json``, which grows with it, and the closing words."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TextIO

from vos.batch.outcome import Outcome
from vos.batch.stores import Store
from vos.files import make_folder, refusals

_MAX_FAILED: Final = 20


def report_name(shard: tuple[int, int]) -> str:
    """Name the report of a shard; that of the only one is ``batch.json``."""
    number, num_shards = shard
    return "batch.json" if num_shards == 1 else f"batch.{number}-of-{num_shards}.json"


@dataclass(slots=True, eq=False)
class Report:
    """Counts what became of jobs, and notes each.

    Attributes:
        file: Where the report grows.
        counts: Jobs by state.
        num_frames: Frames done.
        failed: The first jobs that failed.
    """

    file: TextIO
    counts: Counter[str] = field(default_factory=Counter)
    num_frames: int = 0
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Note a job's outcome.

        Raises:
            OutputError: the disk refuses.
        """
        values = asdict(outcome)
        del values["can_pass"]
        values["seconds"] = round(outcome.seconds, 3)
        with refusals("write the report"):
            comma = ",\n" if self.counts else "\n"
            self.file.write(comma + json.dumps(values))
        self.counts[outcome.state] += 1
        self.num_frames += outcome.num_frames
        if outcome.state == "failed" and len(self.failed) < _MAX_FAILED:
            self.failed.append(outcome)

    def rows(self) -> list[list[str]]:
        """Give the closing table: how many jobs of each state, then those that failed."""
        rows = [["jobs", "number", ""]]
        rows += [[state, str(number), ""] for state, number in sorted(self.counts.items())]
        rows += [[each.name, f"try {each.num_tries}", each.error or ""] for each in self.failed]
        return rows


@contextmanager
def write_report(
    store: Store, name: str, header: Mapping[str, object], scratch: Path
) -> Iterator[Report]:
    """Write a report, a line for each job; it is put among the results when the body ends.

    Args:
        store: Where the results go.
        name: Of the report.
        header: What it begins with; JSON values.
        scratch: Folder where it grows.

    Raises:
        VosError: the disk or the store refuses.
    """
    make_folder(scratch)
    started_at = time.time()
    with TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder, name)
        with refusals(f"write {path}"), path.open("w", encoding="utf-8") as file:
            head = {**header, "started_at": round(started_at)}
            file.write("{\n" + "".join(f"{_entry(head, key)},\n" for key in head) + '"jobs": [')
            report = Report(file)
            try:
                yield report
            finally:
                tail = {
                    "counts": dict(sorted(report.counts.items())),
                    "num_frames": report.num_frames,
                    "elapsed_seconds": round(time.time() - started_at, 3),
                }
                file.write("\n],\n" + ",\n".join(_entry(tail, key) for key in tail) + "\n}\n")
                file.close()
                store.put([name], Path(folder))


def _entry(values: Mapping[str, object], key: str) -> str:
    return f"{json.dumps(key)}: {json.dumps(values[key])}"
