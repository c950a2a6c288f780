"""``vos-eval``."""

import csv
import json

import pytest
from score_masks import square, write_masks

import vos
from vos.cli import eval_main
from vos.score.scores import MEASURES

FRAMES = {"bear": [square(1, x=x) for x in range(6)], "cat": [square(1) + square(2, x=20)] * 4}


@pytest.fixture
def folders(tmp_path):
    annotations = write_masks(tmp_path / "gt", FRAMES)
    results = {"bear": [square(1, x=x) for x in range(2, 8)], "cat": FRAMES["cat"]}
    return str(annotations), str(write_masks(tmp_path / "results", results))


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        eval_main([str(argument) for argument in arguments])
    return ended.value.code


def test_the_table(folders, capsys):
    assert run(*folders) == 0
    output = capsys.readouterr()
    head, *rows = (line.split() for line in output.out.splitlines())
    assert head == [*MEASURES, "frames"]
    assert [row[0] for row in rows] == ["global", "bear", "cat", "1", "2"]
    assert rows[1][2] == f"{8 / 12:.3f}"
    assert rows[3][1:] == ["1.000", "1.000", "1.000", "0.000", "1.000", "1.000", "0.000", "2"]
    assert output.err == ""


def test_files(folders, tmp_path, capsys):
    report = tmp_path / "new/report.html"
    options = ["--csv", tmp_path / "csv", "--json", tmp_path / "new/all.json", "--report", report]
    assert run(*folders, *options) == 0
    evaluation = vos.evaluate(*folders)

    content = json.loads((tmp_path / "new/all.json").read_text())
    assert list(content) == ["global", "objects"]
    assert content["global"] == evaluation.statistics.measures()
    assert content["objects"] == {
        name: scored.statistics.measures() for name, scored in evaluation.objects().items()
    }

    with open(tmp_path / "csv/global_results-all.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            list(MEASURES),
            [f"{figure:.3f}" for figure in evaluation.statistics.measures().values()],
        ]
    with open(tmp_path / "csv/per-sequence_results-all.csv", newline="") as file:
        names, *rows = csv.reader(file)
    assert names == ["Sequence", "J-Mean", "F-Mean"]
    assert rows[0][:2] == ["bear_1", f"{8 / 12:.3f}"]
    assert [row[0] for row in rows] == ["bear_1", "cat_1", "cat_2"]

    assert report.read_text().startswith("<!doctype html>")


def test_problems_end_with_code_1_and_no_traceback(folders, tmp_path, capsys):
    (tmp_path / "results/bear/00002.png").unlink()
    json_path = tmp_path / "all.json"
    assert run(*folders, "--json", json_path) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: 1 problem")
    assert "bear, 00002: no result" in output.err
    assert "Traceback" not in output.err
    assert not json_path.exists()


def test_skip_missing_says_what_was_left_out(folders, tmp_path, capsys):
    (tmp_path / "results/bear/00002.png").unlink()
    json_path = tmp_path / "all.json"
    assert run(*folders, "--skip-missing", "--json", json_path) == 0
    assert "note: left out: bear, 00002: no result" in capsys.readouterr().err
    assert json.loads(json_path.read_text())["left_out"] == [
        {"sequence": "bear", "frame": "00002", "reason": "no result"}
    ]


def test_year_and_workers(folders, capsys):
    assert run(*folders, "--year", "2016", "--workers", "1") == 0
    assert len(capsys.readouterr().out.splitlines()) == 4  # cat has one object now
    assert run(*folders, "--year", "2015") == 2
    assert run(*folders, "--workers", "0") == 2


def test_split(folders, tmp_path, capsys):
    root = tmp_path / "DAVIS"
    write_masks(root / "Annotations/480p", FRAMES)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("cat\n")
    arguments = [root, folders[1], "--year", "2017", "--split", "val", "--csv", tmp_path]
    assert run(*arguments) == 0
    assert "bear" not in capsys.readouterr().out
    assert (tmp_path / "global_results-val.csv").exists()
    assert (tmp_path / "per-sequence_results-val.csv").exists()


@pytest.mark.parametrize("gt_dir", ["DAVIS", "DAVIS/Annotations", "DAVIS/Annotations/480p"])
def test_a_davis_tree_and_results_of_a_part_of_it(folders, tmp_path, gt_dir, capsys):
    write_masks(tmp_path / "DAVIS/Annotations/480p", {**FRAMES, "dog": [square(1)] * 4})
    assert run(tmp_path / gt_dir, folders[1]) == 0
    output = capsys.readouterr()
    assert [line.split()[0] for line in output.out.splitlines()[1:4]] == ["global", "bear", "cat"]
    assert output.err == "note: left out: dog: no results\n"


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "options",
    [
        ["--json", "results/bear/00000.png"],
        ["--report", "gt/bear/../bear/00001.png"],
        ["--report", "soft.html"],
        ["--json", "hard.json"],
        ["--csv", "csv"],
        ["--json", "root/JPEGImages/480p/bear/00000.jpg"],
        ["--json", "root/ImageSets/2017/val.txt"],
        ["--json", "new.txt", "--report", "new.txt"],
    ],
    ids=" ".join,
)
def test_inputs_are_not_replaced(folders, tmp_path, monkeypatch, options, capsys):
    monkeypatch.chdir(tmp_path)
    write_masks(tmp_path / "root/Annotations/480p", FRAMES)
    for folder, name in (("JPEGImages/480p/bear", "00000.jpg"), ("ImageSets/2017", "val.txt")):
        (tmp_path / "root" / folder).mkdir(parents=True)
        (tmp_path / "root" / folder / name).write_text("bear")
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/global_results-val.csv").symlink_to(tmp_path / "results/cat/00001.png")
    (tmp_path / "csv/global_results-all.csv").symlink_to(tmp_path / "results/cat/00001.png")
    (tmp_path / "soft.html").symlink_to(tmp_path / "gt/cat/00000.png")
    (tmp_path / "root/JPEGImages/480p/bear/dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "hard.json").hardlink_to(tmp_path / "results/bear/00003.png")
    is_of_root = "root/" in options[1]
    arguments = ["root", "results", "--split", "val"] if is_of_root else ["gt", "results"]
    before = contents(tmp_path)
    assert run(*arguments, *options) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert output.err.startswith("error: ")
    assert contents(tmp_path) == before


def test_earlier_outputs_are_replaced(folders, tmp_path):
    outputs = ["--json", tmp_path / "results/all.json", "--csv", tmp_path / "results/csv"]
    assert run(*folders, *outputs) == 0
    before = contents(tmp_path)
    assert run(*folders, *outputs) == 0
    assert contents(tmp_path) == before


@pytest.mark.parametrize("option", ["--json", "--report", "--csv"])
def test_outputs_that_cannot_be_written(folders, tmp_path, option, capsys):
    (tmp_path / "file").write_text("")
    assert run(*folders, option, tmp_path / "file/below") == 1
    assert "error: cannot write" in capsys.readouterr().err
