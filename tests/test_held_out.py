"""Weights are judged on the videos that training leaves out, and on no others."""

import csv
import sys
from pathlib import Path

from click.testing import CliRunner
from test_train_nano import make_files, write_tar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import held_out  # noqa: E402


def test_held_out_videos_are_scored_three_ways(tmp_path):
    files = make_files(num_frames=3)
    files |= {
        name.replace("run", "other"): content for name, content in files.items() if "run" in name
    }
    source = write_tar(tmp_path / "pairs.tar", files)
    table = tmp_path / "curve.csv"
    weights = str(ROOT / "vos" / "sam" / "weights" / "nano.safetensors")
    options = ["--data", str(source), "--hold-out", "1", "--csv", str(table)]
    result = CliRunner().invoke(held_out.main, [weights, *options])
    assert result.exit_code == 0, result.output
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert row["split"] == "held_out"
    (name,) = {
        column.removeprefix("default_") for column in row if column.startswith("default_")
    } - {
        "J",
        "F",
    }
    assert name in {"run", "other"}
    for way in ("default", "published", "true_prompt"):
        mean = (float(row[f"{way}_J"]) + float(row[f"{way}_F"])) / 2
        assert abs(float(row[way]) - mean) < 1e-3
        assert abs(float(row[f"{way}_{name}"]) - mean) < 1e-3
    held_out.append(table, {"weights": "later", "another": 1})
    first, second = csv.DictReader(table.read_text().splitlines())
    assert (first["weights"], first["another"]) == (weights, "")
    assert (second["weights"], second["another"], second["default"]) == ("later", "1", "")
