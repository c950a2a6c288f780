"""``vos batch`` with the embedded model, on two clips of two frames."""

import json
import os
import signal
from pathlib import Path

import pytest
from batches import make_batch

from vos.cli import main
from vos.cli.interrupt import stopping_on_interrupt, stopping_on_terminate


@pytest.fixture
def manifest(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VOS_CACHE", str(tmp_path / "cache"))
    return make_batch(tmp_path, 2, bad=(1,), num_frames=2)


def vos_batch(*args: object) -> int:
    with pytest.raises(SystemExit) as end:
        main(["batch", *map(str, args)])
    return end.value.code


def test_a_batch_with_a_bad_job_then_without(manifest, tmp_path, capsys):
    out = tmp_path / "out"
    assert vos_batch(manifest, "--out", out) == 1
    captured = capsys.readouterr()
    assert "failed: clip001: " in captured.err
    assert "error: 1 of 2 jobs failed; see batch.json" in captured.err
    assert "done" in captured.out
    report = json.loads((out / "batch.json").read_text())
    assert report["counts"] == {"done": 1, "failed": 1}
    assert [job["name"] for job in report["jobs"]] == ["clip000", "clip001"]
    assert report["jobs"][1]["error_kind"] == "MaskError"
    assert len([*(out / "clip000").glob("*.png")]) == 2
    (tmp_path / "clip001/mask.png").write_bytes((tmp_path / "clip000/mask.png").read_bytes())
    assert vos_batch(manifest, "--out", out, "--only-failed", "--shard", "1/2") == 0
    report = json.loads((out / "batch.1-of-2.json").read_text())
    assert report["counts"] == {"done": 1}
    assert len([*(out / "clip001").glob("*.png")]) == 3


def test_a_faulty_manifest_starts_nothing(manifest, tmp_path, capsys):
    with manifest.open("a") as file:
        file.write('{"video": "lost.mp4", "mask": "clip000/mask.png"}\n')
    assert vos_batch(manifest, "--out", tmp_path / "out") == 1
    assert "line 3: there is no video or folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shard", ["1", "2/2", "-1/2", "a/b", "0/0"])
def test_what_is_no_shard_is_refused(manifest, shard, capsys):
    assert vos_batch(manifest, "--shard", shard) == 2
    assert "is not I/N" in capsys.readouterr().err


def test_check_does_nothing(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert vos_batch(manifest, "--check") == 0
    assert "the manifest is right: 2 jobs" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_sigterm_asks_for_a_stop():
    with stopping_on_interrupt() as stop, stopping_on_terminate(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
