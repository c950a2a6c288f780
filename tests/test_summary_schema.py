"""Summaries are what docs/reference/summary.schema.json says, no key more and none less."""

import json
from pathlib import Path

import pytest
from interrupted_runs import draw, make_clip, stand_in
from PIL import Image

import vos
from vos.cli import main

jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, of the extra test")

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCHEMA = json.loads((DOCS / "reference" / "summary.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command with the stand-in model in a folder with a clip, and reads its summary."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vos.sam.load.load_sam", stand_in)
    make_clip(tmp_path)

    def run(line: str, summary: str) -> dict:
        with pytest.raises(SystemExit) as end:
            main(line.split())
        assert end.value.code == 0
        return json.loads((tmp_path / summary).read_text(encoding="utf-8"))

    return run


def check(summary: dict) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(summary)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "options",
    [
        "--ref-mask mask.png --no-overlay --soft",
        "--ref-mask mask.png --end 4 --published",
        "--ref-point 3:20,20 --ref 2:later.png --range 1-8 --rename 1:ball --drop 2",
        "--ref-mask mask.png --absent 1:3-5 --causal",
    ],
)
def test_summaries_of_videos(run, options):
    summary = run(f"run clip.mp4 {options}", "results/clip.json")
    check(summary)
    assert vos.Job.from_json(json.dumps(summary["job"])).source == "clip.mp4"


def test_summaries_of_pictures(run, tmp_path):
    (tmp_path / "photos").mkdir()
    for t in (0, 4):
        Image.fromarray(draw(t)[0]).save(tmp_path / "photos" / f"{t}.png")
    check(run("images photos/0.png mask.png photos --for dreambooth", "results/summary.json"))


def test_another_key_is_refused(run):
    summary = run("run clip.mp4 --ref-mask mask.png --end 2 --no-overlay", "results/clip.json")
    with pytest.raises(jsonschema.ValidationError):
        check(summary | {"mood": "good"})
