"""What the machine has, and the completion of commands by the shell."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

import vos
from vos.cli import main, run_main


def command(*args: object, entry=main) -> int:
    with pytest.raises(SystemExit) as end:
        entry([str(arg) for arg in args])
    return end.value.code


def test_the_doctor_says_what_will_be_used(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VOS_CACHE", str(tmp_path / "cache"))
    assert command("doctor", "--out", tmp_path / "new" / "results") == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert torch.__version__ in rows["vos"]
    assert rows["weights of nano"].strip() == "embedded"
    assert str(tmp_path / "cache") in rows["weights folder"]
    assert "GiB free" in rows["results folder"]
    assert "libx264" in rows["H.264 overlay"]
    assert not any(tmp_path.iterdir())
    assert command("doctor", "--model", "vit_b") == 0
    assert "will download" in capsys.readouterr().out


def test_the_doctor_fails_where_a_run_would(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command("doctor", "--out", tmp_path / "file" / "results", "--model", "other") == 1
    printed = capsys.readouterr()
    assert "cannot be written to" in printed.err
    assert "other" in printed.err
    assert "device used" in printed.out


@pytest.mark.parametrize("entry", [main, run_main])
def test_the_version_names_torch_device_and_model(entry, capsys):
    assert command("--version", entry=entry) == 0
    line = capsys.readouterr().out
    for part in (vos.__version__, torch.__version__, "model nano"):
        assert part in line


@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [("vos", "vos do", "doctor"), ("vos_run", "vos-run --ref-m", "--ref-mask")],
)
def test_commands_and_options_are_completed(program, words, expected):
    code = f"from vos.cli import {'main' if program == 'vos' else 'run_main'} as main; main()"
    environment = os.environ | {
        f"_{program.upper()}_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert expected in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_completes_all_programs(shell, capsys, tmp_path):
    assert command("completion", shell) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    for name in ("_VOS_COMPLETE", "_VOS_RUN_COMPLETE", "_VOS_EVAL_COMPLETE"):
        assert name in script.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(script)], check=True)


def test_no_other_shell_is_offered(capsys):
    assert command("completion", "csh") == 2
    assert "bash" in capsys.readouterr().err
