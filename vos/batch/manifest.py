"""Lists of jobs: a file of rows, or a pattern of videos with a rule for their masks.

A row is a job as :meth:`vos.Job.to_json` writes it, of which anything but the video and its
references may be left out: it is then as the batch's defaults say. It may also be said shortly::

    {"video": "a.mp4", "mask": "a.png"}
    {"video": "b.mp4", "mask": "b.png", "name": "second", "start": "2.5s", "every": 2}
    {"video": "c.mp4", "references": [{"hints": {"1": {"boxes_xyxy": [[4, 5, 60, 70]]}}}]}

CSV has the same words as its columns; ``references`` is JSON there. Paths are relative to the
manifest, and may be URLs.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from vos.batch.stores import open_file_system, persistently
from vos.errors import InputError, VosError
from vos.run.job import Job
from vos.run.names import name_fault
from vos.run.references import Reference
from vos.sam.weights.registry import find_features, find_model
from vos.source.address import is_url

_MAX_FAULTY: Final = 100
_SELECTION: Final = ("start", "end", "every")
# These are names of a batch's own files.
_TAKEN: Final = re.compile(r"\.batch|batch(\.\d+-of-\d+)?")

Row = tuple[int, dict[str, Any] | InputError]
"""A line, from 1, and what stands there or is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A job of a manifest.

    Attributes:
        line: Its line in the manifest, from 1.
        name: Name of its results.
        job: The job; where its results go is left open.
        mask_addresses: For each of its references the path or URL of the mask, None for hints.
    """

    line: int
    name: str
    job: Job
    mask_addresses: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """A list of jobs, read again whenever it is gone through, so that it is never in memory.

    Attributes:
        address: What it was read from.
        base: Folder that paths in it are relative to.
        defaults: A job in JSON, for what rows leave out.
        rows: Gives its rows.
    """

    address: str
    base: str
    defaults: str
    rows: Callable[[], Iterator[Row]]

    def tasks(self, shard: tuple[int, int] = (0, 1)) -> Iterator[Task]:
        """Give the tasks of one shard: every nth row.

        Args:
            shard: Its number, from 0, and the number of shards.

        Raises:
            InputError: a row is no job.
        """
        number, num_shards = shard
        for line, row in islice(self.rows(), number, None, num_shards):
            yield self._task(line, row)

    def check(self) -> int:
        """Look at all rows before anything starts.

        Local files must be there; remote ones are not looked for.

        Returns:
            How many jobs there are.

        Raises:
            InputError: there is none, or the message lists all faults, each with its line.
        """
        faults: list[tuple[int, object]] = []
        hashes, lines = array("Q"), array("Q")
        num_rows = num_faulty = 0
        for line, row in self.rows():
            num_rows += 1
            try:
                task = self._task(line, row)
                found: list[object] = [*_missing(task)]
                hashes.append(_hash(task.name))
                lines.append(line)
            except VosError as error:
                found = [error]
            num_faulty += bool(found)
            if num_faulty <= _MAX_FAULTY:
                faults += ((line, fault) for fault in found)
        if not num_rows:
            raise InputError(f"{self.address} holds no job")
        for first, second in _twice(hashes, lines):
            num_faulty += 1
            if num_faulty <= _MAX_FAULTY:
                faults.append(
                    (second, f"its name is that of line {first} too; give it another name")
                )
        if faults:
            texts = [f"line {line}: {fault}" for line, fault in sorted(faults, key=itemgetter(0))]
            if num_faulty > _MAX_FAULTY:
                texts.append(f"and {num_faulty - _MAX_FAULTY} more lines")
            raise InputError(
                f"{self.address}: {num_faulty} of {num_rows} jobs cannot be done, and nothing was "
                "started:\n  " + "\n  ".join(texts)
            )
        return num_rows

    def _task(self, line: int, row: dict[str, Any] | InputError) -> Task:
        if isinstance(row, InputError):
            raise row
        given = {key: value for key, value in row.items() if value is not None}
        if "video" in given and "source" in given:
            raise InputError("it names its video twice, as video and as source")
        source = given.pop("video", None) or given.pop("source", None)
        if not isinstance(source, str):
            raise InputError("it names no video")
        references = self._references(given)
        for part, keys in (("selection", _SELECTION), ("outputs", ("name",))):
            if not isinstance(given.get(part, {}), dict):
                raise InputError(f"{part} must be a JSON object")
            if short := {key: given.pop(key) for key in keys if key in given}:
                given[part] = {**given.get(part, {}), **short}
        name = given.get("outputs", {}).pop("name", None)
        job = _job(json.dumps(given), self.defaults, self.base)
        if job.outputs.reference_path is not None:
            raise InputError("a batch cannot write outputs.reference_path; leave it out")
        if name is None:
            name = Path(urlsplit(source).path if is_url(source) else source).stem
        fault = "it is not a text" if not isinstance(name, str) else name_fault(name)
        if fault is None and _TAKEN.fullmatch(name):
            fault = "a file of the batch has this name"
        if fault is not None:
            raise InputError(f"results cannot be named {name!r}: {fault}; give it a name")
        masks = tuple(None if each.mask is None else mask for each, mask in references)
        job = replace(
            job,
            source=_absolute(source, self.base),
            references=tuple(each for each, _ in references),
            outputs=replace(job.outputs, name=name),
        )
        return Task(line=line, name=name, job=job, mask_addresses=masks)

    def _references(self, given: dict[str, Any]) -> list[tuple[Reference, str | None]]:
        """Take a row's references from it, each with the address of its mask."""
        mask, documents = given.pop("mask", None), given.pop("references", None)
        if (mask is None) == (documents is None):
            raise InputError("it needs either a mask or references")
        if isinstance(mask, str):
            address = _absolute(mask, self.base)
            return [(Reference(mask=Path(address)), address)]
        documents = [{"mask": mask}] if documents is None else documents
        masks = []
        for each in documents if isinstance(documents, list) else ():
            mask = each.get("mask") if isinstance(each, dict) else None
            if isinstance(mask, str):
                each["mask"] = mask = _absolute(mask, self.base)
            masks.append(mask)
        job = Job.from_json(json.dumps({"source": "x", "references": documents}))
        return [*zip(job.references, masks, strict=True)]


def open_manifest(
    address: str,
    defaults: Job | None = None,
    *,
    mask_rule: str | None = None,
    name_rule: str | None = None,
) -> Manifest:
    """Open a list of jobs.

    Args:
        address: A file of JSON lines or CSV; or a pattern of videos, such as ``videos/*.mp4``, as
            path or URL.
        defaults: What rows leave out; its video, references and outputs' folder and name do not
            matter.
        mask_rule: For a pattern, the path of a video's mask relative to the video's folder:
            ``{stem}``, ``{name}`` and ``{parent}`` stand for the video's name without and with its
            ending, and for its folder's name.
        name_rule: For a pattern, the name of a video's results, likewise.

    Raises:
        InputError: there is no such file, or a rule is missing or wrong.
        StoreError: the store cannot be reached.
    """
    document = "{}" if defaults is None else defaults.to_json()
    if any(sign in address for sign in "*?["):
        if mask_rule is None:
            raise InputError(
                f"{address} is a pattern of videos: say where their masks are with --mask-rule, "
                "such as '{stem}.png'"
            )
        rows = _pattern_rows(address, mask_rule, name_rule or "{stem}")
        return Manifest(address, os.getcwd(), document, lambda: enumerate(rows, start=1))
    if mask_rule is not None or name_rule is not None:
        raise InputError(
            f"--mask-rule and --name-rule are for a pattern of videos; {address} is not a pattern"
        )
    path = Path(address)
    if not path.is_file():
        raise InputError(f"there is no manifest {address}")
    read = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    return Manifest(address, str(path.resolve().parent), document, lambda: read(path))


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line, text in enumerate(file, start=1):
            if text.isspace():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                yield line, InputError(f"this is not JSON: {error}")
                continue
            is_object = isinstance(row, dict)
            yield line, row if is_object else InputError("this is not a JSON object")


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        for cells in reader:
            try:
                yield reader.line_num, _from_cells(cells)
            except ValueError as error:
                yield reader.line_num, InputError(f"this is not a row: {error}")


def _from_cells(cells: dict[str | None, Any]) -> dict[str, Any]:
    if None in cells:
        raise ValueError("it has more cells than the first line")
    row: dict[str, Any] = {key: cell for key, cell in cells.items() if key is not None and cell}
    if "every" in row:
        row["every"] = int(row["every"])
    if "references" in row:
        row["references"] = json.loads(row["references"])
    return row


def _pattern_rows(pattern: str, mask_rule: str, name_rule: str) -> list[dict[str, Any]]:
    if is_url(pattern):
        files, path = open_file_system(pattern)
        found = persistently(lambda: files.glob(path), f"list {pattern}")
        videos = [files.unstrip_protocol(each) for each in found]
    else:
        videos = glob.glob(pattern, recursive=True)
    rows = []
    for video in sorted(videos):
        folder, _, file_name = video.replace(os.sep, "/").rpartition("/")
        words = {
            "stem": file_name.rpartition(".")[0] or file_name,
            "name": file_name,
            "parent": folder.rpartition("/")[2],
        }
        try:
            mask, name = mask_rule.format_map(words), name_rule.format_map(words)
        except (LookupError, ValueError, AttributeError) as error:
            raise InputError(
                f"a rule may hold {{stem}}, {{name}} and {{parent}}: {error} is none of them"
            ) from error
        is_absolute = is_url(mask) or os.path.isabs(mask) or not folder
        rows.append(
            {"video": video, "mask": mask if is_absolute else f"{folder}/{mask}", "name": name}
        )
    return rows


def _missing(task: Task) -> Iterator[str]:
    """Say which local files of a task are not there."""
    for what, address in (
        ("video or folder", task.job.source),
        *(("mask", mask) for mask in task.mask_addresses),
        *(("weights file", path) for path in task.job.model.checkpoints),
    ):
        is_local = address is not None and not is_url(str(address))
        if is_local and not os.path.exists(str(address)):
            yield f"there is no {what} {address}"


def _hash(name: str) -> int:
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _twice(hashes: array[int], lines: array[int]) -> Iterator[tuple[int, int]]:
    """Give the lines of equal names; the first one and each that repeats it."""
    values = np.frombuffer(hashes, np.uint64) if hashes else np.zeros(0, np.uint64)
    order = np.argsort(values, kind="stable")
    first = 0
    for position in range(1, len(order)):
        if values[order[position]] == values[order[first]]:
            yield lines[order[first]], lines[order[position]]
        else:
            first = position


@lru_cache(maxsize=64)
def _job(given: str, defaults: str, base: str) -> Job:
    """Read all of a row but its video and references, which many rows have in common."""
    document, row = json.loads(defaults), json.loads(given)
    for part, value in row.items():
        default = document.get(part)
        is_settings = part == "config" or not isinstance(value, dict)
        document[part] = value if is_settings or default is None else {**default, **value}
    document |= {"source": "x", "references": [{"mask": "x"}]}
    job = Job.from_json(json.dumps(document))
    find_model(job.model.name)
    if job.model.features is not None:
        find_features(job.model.features.name)
    # What a row says is relative to the manifest; the defaults are absolute.
    of_row = row.get("model", {})
    if "features" in of_row or "checkpoint" in of_row:
        job = replace(job, model=job.model.below(Path(base)))
    return job


def _absolute(address: str, base: str) -> str:
    return address if is_url(address) else os.path.join(base, address)
