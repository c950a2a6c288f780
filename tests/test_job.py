"""A job as a value and as work: JSON and back, references, stopping, a kill, going on."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from colour_sam import ColourSam
from interrupted_runs import NUM_FRAMES, make_clip

import vos
from vos.errors import InputError, OutputError
from vos.hint import Click, Hint
from vos.run.job import JobOutputs, ModelChoice
from vos.run.references import Reference
from vos.source import Selection

TESTS = Path(__file__).parent


def colour_sam() -> vos.SamModel:
    return vos.SamModel(ColourSam(), name="colour", weights_sha256="0" * 64)


@pytest.fixture
def folder(tmp_path) -> Path:
    make_clip(tmp_path)
    return tmp_path


def make_job(folder: Path, out: str = "out") -> vos.Job:
    return vos.Job(
        source=str(folder / "clip.mp4"),
        references=(
            Reference(mask=folder / "mask.png"),
            Reference(frame=2, mask=folder / "later.png"),
        ),
        outputs=JobOutputs(folder=folder / out),
        config=vos.RunConfig.published(),
    )


ALL_FIELDS = vos.Job(
    source="rtsp://camera/1",
    references=(
        Reference(
            hints={3: Hint((Click(4, 5), Click(6, 7, False)), ((1, 2, 30, 40),))}, resize=True
        ),
        Reference(frame=4.0, mask=Path("a mask.png"), join_objects=True),
        Reference(frame=7, hints={1: Hint((Click(4, 5),))}),
    ),
    selection=Selection(start=1.5, end=40, every=2, decoder="decord", max_pixels=99),
    outputs=JobOutputs(
        folder=Path("out"), name="n", overlay_alpha=None, reference_path=Path("ref.png")
    ),
    model=ModelChoice(
        name="vit_b",
        checkpoint=Path("w.pth"),
        device="cuda:1",
        dtype="bfloat16",
        compiled=True,
        skip_padding=True,
    ),
    config=vos.RunConfig.published(),
    names={3: "a person", 1: "Hund"},
    colours={3: (213, 94, 0)},
    absences=(vos.Absence(object_id=3, first=10, last=4.0),),
    dropped=(7,),
    tracked=(2.0, 400),
    causal=True,
)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(ALL_FIELDS, id="all fields"),
        pytest.param(replace(ALL_FIELDS, config=vos.RunConfig()), id="memory"),
        pytest.param(replace(ALL_FIELDS, config=vos.RunConfig.for_images("persam")), id="persam"),
        pytest.param(
            vos.Job(source="a", references=(Reference(mask=Path("m")),)), id="nothing but defaults"
        ),
    ],
)
def test_a_job_goes_to_json_and_back(job):
    assert vos.Job.from_json(job.to_json()) == job


def test_a_path_as_source_is_its_text():
    references = (vos.Reference(mask=Path("mask.png")),)
    by_path, by_text = (
        vos.Job(source=source, references=references) for source in (Path("a/b.mp4"), "a/b.mp4")
    )
    assert by_path == by_text
    assert vos.Job.from_json(by_path.to_json()) == by_text


def test_times_stay_times_where_numbers_have_one_kind():
    """JavaScript writes 4.0 as 4, which would be a frame."""
    document = json.loads(ALL_FIELDS.to_json())
    assert document["references"][1]["frame"] == "4.0s"
    assert document["selection"]["start"] == "1.5s"
    assert document["selection"]["end"] == 40
    assert document["tracked"] == ["2.0s", 400]
    assert document["absences"][0]["last"] == "4.0s"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sorce": "x"}, "sorce"),
        ({"source": 3}, "source"),
        ({"references": []}, "needs a reference"),
        ({"references": [{"mask": "m", "frme": 1}]}, "references.0.frme"),
        ({"references": [{"mask": "m", "frame": "soon"}]}, "soon"),
        ({"references": [{}]}, "a mask, or else boxes and clicks"),
        ({"references": [{"mask": "a"}, {"mask": "b"}]}, "several references"),
        ({"selection": {"start": -1}}, "start must be"),
        ({"model": {"name": "nano", "chekpoint": "x"}}, "chekpoint"),
        ({"config": {"method": {"name": "magic"}}}, "magic"),
        ({"names": {"0": "nobody"}}, "1 to 254, got 0"),
        ({"colours": {"0": [1, 2, 3]}}, "1 to 254, got 0"),
        ({"colours": {"1": [1, 2, 256]}}, "three numbers of 0 to 255"),
        ({"names": {"1": "two\nlines"}}, "printable"),
        ({"names": {"1": " "}}, "printable"),
        ({"dropped": [255]}, "1 to 254, got 255"),
        ({"absences": [{"object_id": 1, "first": 9, "last": 8}]}, "object 1 must not end before"),
        ({"absences": [{"object_id": 1, "first": "soon", "last": 8}]}, "soon"),
        ({"tracked": [3, -1]}, "0 or more, got -1"),
        ({"tracked": ["2s", "1s"]}, "must not end before"),
    ],
)
def test_what_is_no_job_is_named(change, message):
    document = {"source": "a", "references": [{"mask": "m"}], **change}
    with pytest.raises(InputError, match=message):
        vos.Job.from_json(json.dumps(document))


def test_no_json_is_no_job():
    with pytest.raises(InputError, match="not a job"):
        vos.Job.from_json("{")


def test_a_job_gives_results_progress_and_its_own_description(folder):
    job = make_job(folder)
    seen = []
    result = vos.run_job(job, colour_sam(), seen.append)
    assert result.is_complete
    assert (result.num_done, result.num_before) == (NUM_FRAMES + 2, 0)
    assert [each.num_done for each in seen] == list(range(1, NUM_FRAMES + 3))
    # Object 2 is first shown in frame 2, from which it is tracked backwards first.
    assert [each.frame.index for each in seen] == [1, 0, *range(NUM_FRAMES)]
    assert [each.is_backwards for each in seen] == [True] * 2 + [False] * NUM_FRAMES
    assert {each.num_frames for each in seen} == {NUM_FRAMES + 2}
    assert seen[-1].masks.labels.shape == seen[-1].frame.frame_hw
    summary = json.loads(result.outputs.summary_path.read_text())
    carried = vos.Job.from_json(json.dumps(summary["job"]))
    assert replace(carried, outputs=replace(carried.outputs, folder=folder / "out")) == job


def test_a_stopped_job_goes_on_to_the_same_bytes(folder):
    whole, stopped = make_job(folder, "whole"), make_job(folder, "stopped")
    vos.run_job(whole, colour_sam())
    first = vos.run_job(stopped, colour_sam(), should_stop=lambda: True)
    assert not first.is_complete
    assert first.num_done == 1
    with pytest.raises(OutputError, match="resume"):
        vos.run_job(stopped, colour_sam())
    again = vos.run_job(vos.Job.from_json(stopped.to_json()), colour_sam(), resume=True)
    assert again.is_complete
    assert again.num_before == 1
    assert results(folder / "stopped") == results(folder / "whole")
    finished = vos.run_job(stopped, colour_sam(), resume=True)
    assert finished.was_complete
    assert finished.num_done == 0


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import vos
from test_job import colour_sam
def kill(progress):
    if progress.num_done == 7:
        os.kill(os.getpid(), signal.SIGKILL)
vos.run_job(vos.Job.from_json(open(sys.argv[1]).read()), colour_sam(), kill, save_every_seconds=0)
"""


def test_a_killed_job_is_resumed_from_its_json(folder):
    whole, killed = make_job(folder, "whole"), make_job(folder, "killed")
    vos.run_job(whole, colour_sam())
    (folder / "job.json").write_text(killed.to_json())
    command = [sys.executable, "-c", KILLED, str(folder / "job.json"), str(TESTS)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (folder / "killed" / "clip.json").exists()
    job = vos.Job.from_json((folder / "job.json").read_text())
    result = vos.run_job(job, colour_sam(), resume=True)
    assert 0 < result.num_before <= 7
    assert results(folder / "killed") == results(folder / "whole")


def results(folder: Path) -> dict[str, object]:
    """All files, but for what differs between runs: folders and times."""
    files: dict[str, object] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    summary = json.loads(files.pop("clip.json"))
    del summary["job"], summary["elapsed_seconds"]
    return files | {"summary": summary}


def test_overwriting_replaces_results(folder):
    job = make_job(folder)
    vos.run_job(job, colour_sam())
    with pytest.raises(OutputError, match="overwrite"):
        vos.run_job(job, colour_sam())
    short = replace(job, selection=Selection(end=4))
    assert vos.run_job(short, colour_sam(), overwrite=True).num_done == 2 + 4
    assert len(list((folder / "out" / "clip").iterdir())) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": "later.png"}, "mask_sha256"),
        ({"method": vos.RunConfig()}, "settings"),
        ({"end": 9}, "selection"),
    ],
)
def test_results_of_another_job_are_not_taken_for_finished(folder, change, message):
    job = make_job(folder)
    vos.run_job(job, colour_sam())
    other = job
    if "mask" in change:
        other = replace(job, references=(Reference(mask=folder / change["mask"]),))
    if "method" in change:
        other = replace(job, config=change["method"])
    if "end" in change:
        other = replace(job, selection=Selection(end=change["end"]))
    with pytest.raises(OutputError, match=message):
        vos.run_job(other, colour_sam(), resume=True)


def test_the_same_job_by_other_paths_is_finished(folder, monkeypatch):
    vos.run_job(make_job(folder), colour_sam())
    monkeypatch.chdir(folder)
    relative = make_job(Path())
    assert vos.run_job(relative, colour_sam(), resume=True).was_complete


def test_a_later_reference_may_be_given_by_its_time_or_by_a_click(folder):
    by_number = make_job(folder, "number")
    by_time = replace(
        by_number,
        references=(by_number.references[0], replace(by_number.references[1], frame=0.2)),
        outputs=JobOutputs(folder=folder / "time"),
    )
    by_click = replace(
        by_number,
        references=(by_number.references[0], Reference(frame=2, hints={2: Hint((Click(58, 32),))})),
        outputs=JobOutputs(folder=folder / "click"),
    )
    for job in (by_number, by_time, by_click):
        vos.run_job(job, colour_sam())
    maps = [
        {path.name: path.read_bytes() for path in (folder / out / "clip").iterdir()}
        for out in ("number", "time", "click")
    ]
    assert maps[0] == maps[1]
    assert vos.read_mask(folder / "click" / "clip" / "00002.png")[32, 58] == 2


@pytest.mark.parametrize(
    ("references", "selection", "message"),
    [
        (["mask.png", (99, "later.png")], Selection(), "frame"),
        (["mask.png", (3, "later.png")], Selection(every=2), "frame 3"),
        (["mask.png", (9, "later.png")], Selection(end=9), "frame 9"),
        (["mask.png", (0.85, "later.png")], Selection(end=0.5), "frame"),
        (["mask.png", (0, "later.png")], Selection(), "several references"),
    ],
)
def test_a_reference_of_a_frame_that_is_not_used_is_refused_first(
    folder, references, selection, message
):
    given = tuple(
        Reference(mask=folder / each)
        if isinstance(each, str)
        else Reference(frame=each[0], mask=folder / each[1])
        for each in references
    )
    job = replace(make_job(folder), references=given, selection=selection)
    with pytest.raises((InputError, OSError), match=message):
        vos.run_job(job, colour_sam())
    assert not (folder / "out").exists()


def test_a_run_is_resumed_or_overwritten_but_not_both(folder):
    with pytest.raises(InputError, match="choose one of resume"):
        vos.run_job(make_job(folder), colour_sam(), resume=True, overwrite=True)


@pytest.mark.parametrize("is_right", [True, False])
def test_a_reference_that_cannot_be_right_is_warned_of(folder, caplog, is_right):
    """No mask that was found has a score of 1, so with that bar all are doubtful."""
    outputs = JobOutputs(folder=folder / "out", min_score=0.0 if is_right else 1.0)
    job = replace(make_job(folder), references=make_job(folder).references[:1], outputs=outputs)
    vos.run_job(job, colour_sam())
    assert ("check that the mask belongs to that frame" in caplog.text) != is_right
