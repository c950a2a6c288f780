"""Lists of jobs: what rows may say, and all faults at once."""

import json
import os
import time
import tracemalloc
from itertools import chain
from pathlib import Path

import pytest
from batches import DEFAULTS

import vos
from vos.batch.manifest import open_manifest
from vos.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in ("a.mp4", "b.mp4", "a.png", "b.png", "w.pth"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def write(folder: Path, *rows: dict | str, name: str = "jobs.jsonl") -> str:
    path = folder / name
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n")
    return str(path)


def test_rows_are_jobs_with_paths_relative_to_the_manifest(folder):
    job = vos.Job(
        source="b.mp4",
        references=(vos.Reference(mask=Path("b.png"), resize=True),),
        outputs=vos.JobOutputs(name="full", min_score=0.25),
        model=vos.ModelChoice(name="vit_b", checkpoint=Path("w.pth")),
    )
    rows = (
        {"video": "a.mp4", "mask": "a.png"},
        "",
        {"video": "a.mp4", "mask": "a.png", "name": "late", "start": "2.5s", "every": 2},
        {
            "video": "a.mp4",
            "references": [{"hints": {"1": {"clicks": [{"x": 4, "y": 5}]}}}],
            "name": "hinted",
            "model": {"device": "cpu"},
        },
        job.to_json_values(),
    )
    manifest = open_manifest(write(folder, *rows), DEFAULTS)
    assert manifest.check() == 4
    short, late, hinted, full = manifest.tasks()
    assert (short.name, short.line, late.name, late.line) == ("a", 1, "late", 3)
    assert short.job.source == str(folder / "a.mp4")
    assert short.mask_addresses == (str(folder / "a.png"),)
    assert short.job.config == DEFAULTS.config
    assert short.job.outputs.overlay_alpha is None
    assert (late.job.selection.start, late.job.selection.every) == (2.5, 2)
    assert hinted.job.references[0].hints[1].clicks == (vos.Click(4, 5),)
    assert hinted.mask_addresses == (None,)
    assert (hinted.job.model.name, hinted.job.model.device) == ("nano", "cpu")
    assert full.job.config == job.config
    assert full.job.outputs.min_score == 0.25
    assert full.job.outputs.overlay_alpha == 0.5
    assert full.job.references[0].resize
    assert full.job.model.checkpoint == folder / "w.pth"


def test_csv_has_the_same_words(folder):
    lines = (
        "video,mask,name,start,every,references",
        "a.mp4,a.png,first,10,2,",
        'b.mp4,,,,,"[{""mask"": ""b.png"", ""frame"": 0}]"',
    )
    first, second = open_manifest(write(folder, *lines, name="jobs.csv")).tasks()
    assert (first.name, first.job.selection.start, first.job.selection.every) == ("first", 10, 2)
    assert (second.name, second.line, second.job.references[0].frame) == ("b", 3, 0)


def test_patterns_find_masks_by_rule(folder, monkeypatch):
    monkeypatch.chdir(folder)
    a, b = open_manifest("*.mp4", mask_rule="{stem}.png").tasks()
    assert (a.name, b.name) == ("a", "b")
    assert a.mask_addresses == (str(folder / "a.png"),)
    (named, _) = open_manifest(
        f"{folder}/*.mp4", mask_rule="../masks/{name}.png", name_rule="{parent}-{stem}"
    ).tasks()
    assert named.name == f"{folder.name}-a"
    assert os.path.normpath(named.mask_addresses[0]) == str(folder.parent / "masks/a.mp4.png")


def test_all_faults_are_told_at_once_with_their_lines(folder):
    good = {"video": "a.mp4", "mask": "a.png"}
    rows = (
        good,
        "{",
        [],
        {"mask": "a.png"},
        {"video": "b.mp4"},
        {"video": "lost.mp4", "mask": "lost.png"},
        {**good, "name": "x", "strat": 3},
        {**good, "name": "../x"},
        {**good, "name": "batch"},
        {**good, "name": "y", "model": {"name": "nono"}},
        {**good, "name": "z", "config": {"method": {"name": "magic"}}},
        {**good, "name": "a"},
        {**good, "name": "v", "references": [{"mask": "a.png"}]},
        {"video": "b.mp4", "references": "b.png"},
    )
    with pytest.raises(InputError) as error:
        open_manifest(write(folder, *rows)).check()
    head, *lines = str(error.value).splitlines()
    assert "13 of 14 jobs cannot be done, and nothing was started" in head
    for line, text in (
        (2, "not JSON"),
        (3, "not a JSON object"),
        (4, "names no video"),
        (5, "needs either a mask or references"),
        (6, "no video or folder"),
        (6, "no mask"),
        (7, "strat"),
        (8, "'../x'"),
        (9, "a file of the batch has this name"),
        (10, "there is no model"),
        (11, "magic"),
        (12, "that of line 1"),
        (13, "either a mask or references"),
        (14, "references: "),
    ):
        assert any(f"line {line}: " in each and text in each for each in lines), (line, text)


@pytest.mark.parametrize(
    ("address", "rules", "message"),
    [
        ("none.jsonl", {}, "no manifest"),
        ("empty.jsonl", {}, "holds no job"),
        ("*.mp4", {}, "--mask-rule"),
        ("*.mp4", {"mask_rule": "{stam}.png"}, "stam"),
        ("*.avi", {"mask_rule": "{stem}.png"}, "holds no job"),
        ("empty.jsonl", {"mask_rule": "{stem}.png"}, "not a pattern"),
    ],
)
def test_what_is_no_manifest_is_refused(folder, address, rules, message):
    (folder / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match=message):
        open_manifest(str(folder / address), **rules).check()


def test_shards_share_all_rows_out(folder):
    rows = [{"video": "a.mp4", "mask": "a.png", "name": f"n{number}"} for number in range(10)]
    manifest = open_manifest(write(folder, *rows))
    names = [[task.name for task in manifest.tasks((shard, 3))] for shard in range(3)]
    assert names[1] == ["n1", "n4", "n7"]
    assert sorted(chain(*names)) == [f"n{number}" for number in range(10)]


def test_many_rows_are_gone_through_quickly_in_the_memory_of_one(folder):
    """benchmarks/batch.py times 100,000; here a tenth, with room for a slow machine."""
    with (folder / "jobs.jsonl").open("w") as file:
        for number in range(10_000):
            row = {"video": f"s3://bucket/{number}.mp4", "mask": f"s3://bucket/{number}.png"}
            file.write(json.dumps(row) + "\n")
    manifest = open_manifest(str(folder / "jobs.jsonl"), DEFAULTS)
    started = time.process_time()
    assert manifest.check() == 10_000
    assert time.process_time() - started < 3
    tasks = manifest.tasks()
    tracemalloc.start()
    peaks = []
    for num_rows in (200, 1000):
        for _ in range(num_rows):
            next(tasks)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    # A job alone has more than 2000 bytes.
    assert peaks[1] < peaks[0] + 800 * 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nano"}, "model"),
        ({"selection": 3}, "selection"),
        ({"outputs": [], "name": "x"}, "outputs"),
        ({"name": 3}, "not a text"),
        ({"outputs": {"reference_path": "r.png"}}, "reference_path"),
        ({"references": [3]}, "references.0"),
        ({"references": [{"mask": 3}]}, "references.0.mask"),
        ({"mask": 3}, "mask"),
        ({"video": 3}, "names no video"),
        ({"source": "b.mp4"}, "twice"),
        ({"config": 3}, "config"),
    ],
)
def test_values_of_a_wrong_kind_are_faults_too(folder, change, message):
    row = {"video": "a.mp4", **({} if "references" in change else {"mask": "a.png"}), **change}
    with pytest.raises(InputError, match=f"line 1: .*{message}"):
        open_manifest(write(folder, row), DEFAULTS).check()
