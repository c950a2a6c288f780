"""Updates of results: what changed is done again, and nothing else is touched."""

import json
import os
import random
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colour_sam import ColourSam
from interrupted_runs import contents, draw, make_clip, run_process, shell
from test_both_ways import (
    NUM_FRAMES,
    TRUTH,
    folder,
    found,
    ious,
    make_job,
    presence,
    sam,
    write_inputs,
)

import vos
from vos.errors import InputError, OutputError
from vos.masks import write_label_png
from vos.run.changes import find_change
from vos.run.made_from import MadeFrom
from vos.run.references import Reference
from vos.segment.plan import END, Window, plan_both_ways
from vos.source import Selection

__all__ = ["folder"]  # the fixture


def update(job: vos.Job, **options) -> tuple[list[int], vos.JobResult]:
    """Update, and give the frames of the passes."""
    seen = []
    result = vos.run_job(job, sam(), seen.append, update=True, **options)
    return [each.frame.index for each in seen], result


def stamps(out: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file."""
    return {
        str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in out.rglob("*")
        if path.is_file()
    }


def touched(before: dict[str, tuple[bytes, int]], out: Path) -> set[str]:
    after = stamps(out)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def label_names(indices) -> set[str]:
    return {f"clip/{index:05d}.png" for index in indices}


def correct(folder: Path) -> Path:
    """Put object 1 somewhere else in the mask only1_8."""
    mask = np.roll(np.where(TRUTH[8] == 1, 1, 0), 3, axis=1).astype(np.uint8)
    write_label_png(folder / "only1_8.png", mask)
    return folder


@pytest.fixture
def corrected(folder) -> Path:
    return correct(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_inputs(folder)
    vos.run_job(make_job(folder, (0, "both0")), sam())
    return correct(folder)


@pytest.fixture
def done(finished, tmp_path) -> Path:
    """A copy with the results of make_job(done, (0, "both0"))."""
    return shutil.copytree(finished, tmp_path / "done")


@pytest.mark.parametrize("method", [vos.Memory(), vos.Persam()], ids=lambda method: method.name)
def test_a_correction_touches_its_object_and_what_is_near_it(corrected, method):
    job = make_job(corrected, (0, "both0"), method=method, alpha=0.5)
    out = corrected / "out"
    vos.run_job(job, sam())
    before, maps = stamps(out), found(job)
    job = job.with_reference(Reference(frame=8, mask=corrected / "only1_8.png"))
    frames, result = update(job)
    assert frames == [7, 6, 5, *range(5, NUM_FRAMES)]
    assert result.is_complete
    assert not result.was_complete
    changed = touched(before, out)
    assert (
        label_names([8])
        <= changed
        <= label_names(range(5, NUM_FRAMES))
        | {
            "clip.mp4",
            "clip.json",
        }
    )
    for index, labels in found(job).items():
        assert ((labels == 2) == (maps[index] == 2)).all()
    assert ((found(job)[8] == 1) == (vos.read_mask(corrected / "only1_8.png") == 1)).all()
    summary = json.loads((out / "clip.json").read_text())
    assert len(summary["job"]["references"]) == 2
    assert [each["index"] for each in summary["frames"]] == list(range(NUM_FRAMES))
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_an_update_without_a_change_touches_nothing(corrected):
    job = make_job(corrected, (0, "both0"), (8, "only1_8"), alpha=0.5)
    vos.run_job(job, sam())
    before = stamps(corrected / "out")
    frames, result = update(job)
    assert (frames, result.was_complete) == ([], True)
    assert result.tallies
    assert touched(before, corrected / "out") == set()


def test_what_is_done_again_is_said_before(done, caplog):
    caplog.set_level("INFO", "vos")
    job = make_job(done, (0, "both0"))
    job = replace(
        job,
        absences=(vos.Absence(object_id=2, first=3, last=4),),
        references=(*job.references, Reference(frame=8, mask=done / "only1_8.png")),
    )
    update(job, should_stop=lambda: True)
    assert "object 1 is tracked again in frames 5 to the end" in caplog.text
    assert "object 2 is tracked again in frames 3 to the end" in caplog.text


def test_new_names_are_in_the_overlay_and_the_summary_only(folder):
    job = make_job(folder, (0, "both0"), alpha=0.5)
    vos.run_job(job, sam())
    before = stamps(folder / "out")
    frames, _ = update(replace(job, names={2: "dog"}))
    assert frames == []
    assert touched(before, folder / "out") == {"clip.mp4", "clip.json"}


def test_a_dropped_object_goes_and_the_others_stay(done):
    job = make_job(done, (0, "both0"))
    maps = found(job)
    update(replace(job, dropped=(2,)))
    for index, labels in found(job).items():
        assert (labels == np.where(maps[index] == 2, 0, maps[index])).all()
    summary = json.loads((done / "out" / "clip.json").read_text())
    assert summary["objects"] == [1]
    assert [each["id"] for each in summary["frames"][3]["objects"]] == [1]


def test_an_absence_is_cut_out_and_searched_behind(done):
    job = make_job(done, (0, "both0"))
    before = stamps(done / "out")
    update(replace(job, absences=(vos.Absence(object_id=2, first=4, last=6),)))
    assert presence(job, 2) == [0, 1, 2, 3, *range(7, NUM_FRAMES)]
    assert not touched(before, done / "out") & label_names(range(4))


def test_a_new_object_is_brought_in(folder):
    job = make_job(folder, (0, "only1_0"))
    vos.run_job(job, sam())
    ones = {index: labels == 1 for index, labels in found(job).items()}
    job = job.with_reference(Reference(frame=6, mask=folder / "only2_6.png"))
    update(job)
    assert min(ious(job, 2)) > 0.8
    assert all(((labels == 1) == ones[t]).all() for t, labels in found(job).items())


def test_a_removed_reference_gives_what_its_absence_would_have(done):
    job = make_job(done, (0, "both0"))
    maps = found(job)
    update(job.with_reference(Reference(frame=8, mask=done / "only1_8.png")))
    assert (found(job)[8] != maps[8]).any()
    update(job)
    assert all((labels == maps[t]).all() for t, labels in found(job).items())


def test_outside_of_a_range_nothing_changes(done):
    job = make_job(done, (0, "both0"))
    before = stamps(done / "out")
    job = job.with_reference(Reference(frame=8, mask=done / "only1_8.png"))
    frames, _ = update(replace(job, tracked=(7, 9)))
    assert {*frames} == {7, 8, 9}
    assert touched(before, done / "out") <= label_names([7, 8, 9]) | {"clip.json"}
    frames, _ = update(job)  # the rest
    assert {5, 6, 10, 11} <= {*frames}
    assert min(ious(job, 2)) > 0.8


def test_a_larger_range_brings_new_frames(folder):
    job = make_job(folder, (0, "both0"), tracked=(4, 8), alpha=0.5)
    vos.run_job(job, sam())
    before = stamps(folder / "out")
    wider = replace(job, tracked=(2, 9))
    frames, _ = update(wider)
    assert [*found(job)] == list(range(2, 10))
    assert min(ious(job, 1) + ious(job, 2)) > 0.8
    assert not {*frames} - {*range(2, 10)}
    assert label_names([2, 3, 9]) <= touched(before, folder / "out")
    update(replace(job, tracked=None))
    assert [*found(job)] == list(range(NUM_FRAMES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": vos.RunConfig(method=vos.Persam())}, "settings.method.name was 'memory'"),
        ({"selection": Selection(end=10)}, "selection.end was None and is 10"),
        ({"other_weights": True}, "weights_sha256 was"),
        ({"other_video": True}, "source_file"),
        ({"causal": True}, "cannot be of a causal job"),
        ({"elsewhere": True}, "there are no results to update"),
    ],
)
def test_what_cannot_be_updated_is_one_line(done, change, message):
    job = make_job(done, (0, "both0"))
    before = stamps(done / "out")
    model = sam()
    if change.pop("other_weights", False):
        model = vos.SamModel(ColourSam(), name="colour", weights_sha256="1" * 64)
    if change.pop("other_video", False):
        with (done / "clip.mp4").open("ab") as file:
            file.write(b"\0")
    if change.pop("elsewhere", False):
        job = make_job(done, (0, "both0"), out="elsewhere")
    with pytest.raises((InputError, OutputError), match=message) as refused:
        vos.run_job(replace(job, **change), model, update=True)
    assert "\n" not in str(refused.value)
    assert touched(before, done / "out") == set()


def test_an_unfinished_run_is_not_updated(folder):
    job = make_job(folder, (0, "both0"))
    vos.run_job(job, sam(), should_stop=lambda: True)
    with pytest.raises(OutputError, match="--resume"):
        update(job)


def test_files_of_others_are_not_replaced(folder):
    job = make_job(folder, (0, "both0"), tracked=(4, 8))
    vos.run_job(job, sam())
    (folder / "out" / "clip" / "00009.png").write_text("mine")
    with pytest.raises(OutputError, match=r"00009.png is there"):
        update(replace(job, tracked=(4, 9)))
    assert (folder / "out" / "clip" / "00009.png").read_text() == "mine"
    assert [*json.loads((folder / "out" / "clip.json").read_text())["tracked"]] == [4, 8]


def test_a_forged_list_reaches_no_other_file(folder):
    job = make_job(folder, (0, "both0"), tracked=(0, 8))
    vos.run_job(job, sam())
    (folder / "out" / "clip" / "00009.png").write_text("mine")
    (folder / "secret.png").write_text("mine")
    left = folder / "out" / ".clip.update"
    (left / "masks").mkdir(parents=True)
    for name in ("00009.png", "../../secret.png"):
        (left / "masks" / "00009.png").write_text("theirs")
        (left / "moves").write_text(json.dumps([name]))
        with suppress(OutputError):
            update(job)
        assert (folder / "out" / "clip" / "00009.png").read_text() == "mine"
        assert (folder / "secret.png").read_text() == "mine"


def test_a_foreign_folder_in_the_place_of_an_update_is_left(done):
    job = make_job(done, (0, "both0"))
    (done / "out" / ".clip.update").mkdir()
    (done / "out" / ".clip.update" / "mine").write_text("mine")
    with pytest.raises(OutputError, match="is not an update of vos"):
        update(replace(job, dropped=(2,)))
    assert (done / "out" / ".clip.update" / "mine").read_text() == "mine"


# --- killed on its way


RUN = ("clip.mp4", "--ref-mask", "mask.png", "--out", "out", "--save-every", 0)
UPDATE = (*RUN, "--ref", "9:fix.png", "--absent", "1:12-13", "--update")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A clip with results, and a correction."""
    place = tmp_path_factory.mktemp("clip")
    make_clip(place)
    write_label_png(place / "fix.png", draw(12)[1])
    code, _ = run_process(place, *RUN)
    assert code == 0, (place / "stderr").read_text()
    return place


@pytest.fixture(scope="module")
def updated(clip, tmp_path_factory) -> tuple[dict[str, bytes], int]:
    place = shutil.copytree(clip, tmp_path_factory.mktemp("updated") / "place")
    code, num_events = run_process(place, *UPDATE)
    assert code == 0, (place / "stderr").read_text()
    return contents(place / "out"), num_events


@pytest.mark.parametrize("number", range(10))
def test_a_killed_update_loses_neither_the_old_nor_the_new(clip, updated, tmp_path, number):
    want, num_events = updated
    place = shutil.copytree(clip, tmp_path / "place")
    before = contents(place / "out")
    # At random, and four times near the end, where files take their places.
    share = random.Random(number).uniform(0.2, 0.9) if number < 6 else 0.9 + 0.024 * (number - 5)
    assert run_process(place, *UPDATE, kill_at=round(num_events * share))[0] == -9
    if not (place / "out" / ".clip.update" / "moves").exists() and number < 6:
        left = contents(place / "out")
        assert before.items() <= left.items()
    assert run_process(place, *UPDATE)[0] == 0, (place / "stderr").read_text()
    assert contents(place / "out") == want


def test_a_killed_update_is_dropped_by_another_one(clip, updated, tmp_path, monkeypatch):
    place = shutil.copytree(clip, tmp_path / "place")
    assert run_process(place, *UPDATE, kill_at=updated[1] // 2)[0] == -9
    monkeypatch.chdir(place)
    assert shell(*RUN, "--rename", "1:box", "--update") == 0
    assert json.loads((place / "out" / "clip.json").read_text())["names"] == {"1": "box"}
    assert not [name for name in os.listdir(place / "out") if name.startswith(".")]


@pytest.mark.parametrize(
    "args",
    [
        ("--absent", "2"),
        ("--absent", "2:9-x"),
        ("--range", "5"),
        ("--rename", "3"),
        ("--drop", "0"),
        ("--update", "--resume"),
    ],
)
def test_wrong_forms_exit_with_2(args):
    assert shell(*RUN, *args) == 2


# --- what changes


def shown(*object_ids: int) -> np.ndarray:
    labels = np.zeros((2, 4), np.uint8)
    labels[0, : len(object_ids)] = object_ids
    return labels


def plan(references, absences=None, window=None):
    return plan_both_ways(references, absences or {}, window or Window(first=0))


def change(old, new, window=None, *, trusted=None):
    window = window or Window(first=0)
    made_from = MadeFrom.of(old, [Window(first=0)])
    found = find_change(new, window, made_from)
    return (
        found if trusted is None else found.trusting([(1, index) for index in trusted], made_from)
    )


def test_the_half_that_was_tracked_from_the_same_reference_is_kept():
    found = change(plan({0: shown(1)}), plan({0: shown(1), 80: shown(1)}))
    assert found.changed == {1: [(41, END)]}


def test_a_doubtful_side_keeps_more_of_the_other():
    found = change(plan({0: shown(1)}), plan({0: shown(1), 80: shown(1)}), trusted=[60])
    assert found.changed == {1: [(61, END)]}


def test_a_doubtful_side_has_the_other_tracked_again_where_that_is_not_there():
    old, new = plan({0: shown(1), 80: shown(1)}), plan({0: shown(1), 60: shown(1), 80: shown(1)})
    found = change(old, new, trusted=[50])
    assert found.changed == {1: [(1, 70)]}
    assert change(old, new).changed == {1: [(31, 70)]}


def test_the_same_plan_changes_nothing_wherever_its_sides_met():
    same = plan({0: shown(1), 80: shown(1)})
    moved = replace(same, gaps=(replace(same.gaps[0], last_forwards=79), same.gaps[1]))
    found = change(moved, same)
    assert found.is_nothing
    assert found.made_from.gaps == moved.gaps


def test_what_results_are_made_from_goes_to_json_and_back():
    made_from = MadeFrom.of(plan({0: shown(1), 80: shown(1, 2)}), [Window(first=0)])
    assert (
        MadeFrom.from_json_values(json.loads(json.dumps(made_from.to_json_values()))) == made_from
    )
