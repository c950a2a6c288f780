"""Soft edges from the logits: what they promise, and their way to the disk and into exports."""

import gc
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from interrupted_runs import NUM_FRAMES as NUM_RUN_FRAMES
from interrupted_runs import OPTIONS, contents, make_clip, run_process, shell
from PIL import Image
from test_both_ways import METHODS, NUM_FRAMES, TRUTH, folder, make_job, sam

import vos
from vos.errors import OutputError
from vos.export.clean_up import CleanUp, cleaned_edges
from vos.export.clip import ExportOptions
from vos.export.export import export_results
from vos.masks import write_label_png
from vos.masks.edges import (
    BAND_PX,
    NEAR,
    alpha_of,
    encode_edges,
    match_edges,
    read_edges,
    soft_alpha,
)
from vos.records import SoftEdges
from vos.track.edges import soft_edges
from vos.track.masks import Claim, settle

__all__ = ["folder"]  # the fixture

HW = (40, 60)
FAST = vos.Persam()


def claim(object_id: int, logits: np.ndarray, slices=None, prior=None) -> Claim:
    slices = slices or (slice(0, logits.shape[0]), slice(0, logits.shape[1]))
    log_prior = None if prior is None else torch.full(logits.shape, prior)
    return Claim(object_id, slices, torch.from_numpy(logits.astype(np.float32)), log_prior)


def disc(centre_yx: tuple[float, float], radius_px: float, slope: float = 1.5) -> np.ndarray:
    """Logits of a disc whose outline runs between the pixels."""
    y, x = np.mgrid[: HW[0], : HW[1]]
    return slope * (radius_px - np.hypot(y - centre_yx[0], x - centre_yx[1]))


def coverage(centre_yx: tuple[float, float], radius_px: float) -> np.ndarray:
    """Drawn eight times as large, and averaged: each pixel's share of the disc, of 255."""
    y, x = (np.mgrid[: 8 * HW[0], : 8 * HW[1]] + 0.5) / 8 - 0.5
    inside = np.hypot(y - centre_yx[0], x - centre_yx[1]) < radius_px
    return 255 * inside.reshape(HW[0], 8, HW[1], 8).mean((1, 3))


def check(alpha: np.ndarray, labels: np.ndarray, object_ids) -> None:
    """What (K, H, W) alphas promise beside their label map."""
    assert alpha.dtype == np.uint8
    for each, object_id in zip(alpha, object_ids, strict=True):
        np.testing.assert_array_equal(each >= 128, labels == object_id)
    assert alpha.astype(int).sum(0).max() <= 255


def alphas(edges: SoftEdges, labels: np.ndarray, object_ids) -> np.ndarray:
    return np.stack([alpha_of(edges, labels, each) for each in object_ids])


@pytest.mark.parametrize("slope", [0.5, 1.5, 5])
def test_logits_know_the_outline_between_the_pixels(slope):
    """However steep they are."""
    where = (19.3, 30.6), 11.4
    claims = [claim(1, disc(*where, slope))]
    labels = settle(claims, HW, "cpu").labels
    truth = coverage(*where)
    from_logits = alpha_of(match_edges(soft_edges(claims, labels), labels), labels, 1)
    from_distance = alpha_of(match_edges(None, labels), labels, 1)
    errors = [
        np.abs(alpha - truth).mean()
        for alpha in (from_logits, from_distance, 255.0 * (labels == 1))
    ]
    assert errors[0] < 0.7 * errors[1]
    assert errors[0] < 0.6 * errors[2]


def test_the_distance_gives_the_same_as_soft_alpha():
    labels = settle([claim(1, disc((20, 30), 11))], HW, "cpu").labels
    alpha = alpha_of(match_edges(None, labels), labels, 1)
    assert np.abs(alpha - 255 * soft_alpha(labels == 1)).max() <= 1


@pytest.mark.parametrize("prior", [None, 1.0])
def test_objects_share_the_pixels_where_they_meet(prior):
    """Three that overlap, one of them in a window of its own."""
    part = slice(4, 36), slice(10, 50)
    claims = [
        claim(1, disc((18, 20), 12)),
        claim(2, disc((20, 34), 12)),
        claim(7, disc((26, 27), 8)[part], part, prior),
    ]
    labels = settle(claims, HW, "cpu").labels
    assert {*np.unique(labels)} == {0, 1, 2, 7}
    edges = match_edges(soft_edges(claims, labels), labels)
    check(alphas(edges, labels, (1, 2, 7)), labels, (1, 2, 7))
    together = alpha_of(edges, labels)
    np.testing.assert_array_equal(together >= 128, labels > 0)
    # No background shows through where they meet.
    is_deep = cv2.erode((labels > 0).astype(np.uint8), NEAR) > 0
    assert (is_deep & (np.abs(np.diff(labels.astype(int), axis=1, prepend=0)) > 0)).any()
    assert (together[is_deep] == 255).all()
    assert (alphas(edges, labels, (1, 2, 7)).astype(int).sum(0)[is_deep] == 255).all()


def test_matching_again_changes_nothing():
    rng = np.random.default_rng(0)
    claims = [claim(i, disc(rng.uniform(10, 30, 2), 9) + rng.normal(0, 2, HW)) for i in (1, 2, 3)]
    labels = settle(claims, HW, "cpu").labels
    once = match_edges(soft_edges(claims, labels), labels)
    check(alphas(once, labels, (1, 2, 3)), labels, (1, 2, 3))
    assert encode_edges(match_edges(once, labels)) == encode_edges(once)


def test_edges_keep_to_a_label_map_that_was_painted_by_hand():
    claims = [claim(1, disc((20, 30), 11))]
    labels = settle(claims, HW, "cpu").labels
    edges = soft_edges(claims, labels)
    painted = labels.copy()
    painted[:, 30:] = 0
    painted[2:8, 2:8] = 4
    check(alphas(match_edges(edges, painted), painted, (1, 4)), painted, (1, 4))


@pytest.mark.parametrize("labels", [np.zeros(HW, np.uint8), np.full(HW, 3, np.uint8)])
def test_frames_without_an_outline(labels):
    edges = match_edges(None, labels)
    assert len(edges.pixels) == 0
    np.testing.assert_array_equal(alpha_of(edges, labels), 255 * (labels > 0))


def soft(job: vos.Job) -> vos.Job:
    return replace(job, config=replace(job.config, soft=True))


def results_of(job: vos.Job) -> vos.Results:
    return vos.read_results(job.outputs.folder, "clip")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_each_method_keeps_what_it_knows(folder, method):
    """Both ways, with two references: label maps are those of a hard run."""
    hard = make_job(folder, (0, "only1_0"), (8, "only2_8"), method=method, out="hard")
    vos.run_job(hard, sam())
    job = soft(replace(hard, outputs=replace(hard.outputs, folder=folder / "soft")))
    vos.run_job(job, sam())
    results, num_differing = results_of(job), 0
    assert results.has_soft_edges
    assert not results_of(hard).has_soft_edges
    for number in range(NUM_FRAMES):
        labels = results.labels(number)
        np.testing.assert_array_equal(labels, results_of(hard).labels(number))
        alpha = results.alpha(number)
        check(alpha, labels, results.object_ids)
        by_distance = alphas(match_edges(None, labels), labels, results.object_ids)
        num_differing += not np.array_equal(alpha, by_distance)
    assert num_differing >= NUM_FRAMES - 2  # all but the frames of references
    assert {path.name for path in (folder / "soft").iterdir()} == {
        "clip",
        "clip.edges",
        "clip.json",
    }
    assert {path.suffix for path in (folder / "soft" / "clip").iterdir()} == {".png"}
    with pytest.raises(OutputError, match="have no soft edges: vos-run --soft keeps them"):
        results_of(hard).alpha(0)


def test_edges_do_not_pile_up(folder):
    num_alive = []

    def count(_: object) -> None:
        num_alive.append(sum(type(each) is SoftEdges for each in gc.get_objects()))

    vos.run_job(soft(make_job(folder, (0, "both0"), method=FAST)), sam(), count)
    assert len(num_alive) == NUM_FRAMES
    assert max(num_alive[2:]) <= num_alive[1]


def test_an_update_makes_edges_anew_where_it_makes_masks(folder):
    job = soft(make_job(folder, (0, "both0"), alpha=0.5, method=FAST))
    vos.run_job(job, sam())
    before = contents(folder / "out")
    write_label_png(folder / "fix.png", np.roll(np.where(TRUTH[8] == 1, 1, 0), 3, 1).astype("u1"))
    correction = vos.Reference(frame=8, mask=folder / "fix.png")
    changed = replace(job, references=(*job.references, correction))
    vos.run_job(changed, sam(), update=True)
    after = contents(folder / "out")
    assert before.keys() == after.keys()
    results, touched = results_of(changed), {n for n in after if before[n] != after[n]}
    assert {"clip/00008.png", "clip.edges/00008.npz"} <= touched
    for number in range(NUM_FRAMES):
        check(results.alpha(number), results.labels(number), results.object_ids)
        # Where an object's edges are as they were, so are the other's.
        if f"clip/{number:05d}.png" in touched:
            assert f"clip.edges/{number:05d}.npz" in touched
    assert "clip/00000.png" not in touched
    with pytest.raises(OutputError, match=r"settings\.soft was True and is None"):
        vos.run_job(replace(changed, config=vos.RunConfig(method=FAST)), sam(), update=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("clip")
    make_clip(place)
    return place


RUN = ("clip.mp4", *OPTIONS, "--soft", "--save-every", 0, "--no-overlay", "--method", "persam")
BOTH_WAYS = ("--ref", "9:later.png")


@pytest.fixture(scope="module")
def whole(clip, tmp_path_factory) -> tuple[dict[str, bytes], int]:
    place = shutil.copytree(clip, tmp_path_factory.mktemp("whole") / "place")
    code, num_events = run_process(place, *RUN, *BOTH_WAYS)
    assert code == 0, (place / "stderr").read_text()
    return contents(place / "out"), num_events


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_killed_run_goes_on_to_the_same_edges(clip, whole, tmp_path, share):
    """Killed on its way backwards, and forwards."""
    want, num_events = whole
    assert sum(name.startswith("clip.edges/") for name in want) == NUM_RUN_FRAMES
    place = shutil.copytree(clip, tmp_path / "place")
    kill_at = round(num_events * share)
    assert run_process(place, *RUN, *BOTH_WAYS, kill_at=kill_at)[0] == -9
    code, _ = run_process(place, *RUN, *BOTH_WAYS, "--resume")
    assert code == 0, (place / "stderr").read_text()
    assert contents(place / "out") == want


@pytest.fixture
def place(clip, tmp_path, monkeypatch) -> Path:
    place = shutil.copytree(clip, tmp_path / "place")
    monkeypatch.chdir(place)
    return place


def test_edges_go_with_the_results_that_they_are_of(place, capsys):
    assert shell(*RUN) == 0
    assert "out/clip, out/clip.edges, out/clip.json" in capsys.readouterr().out
    assert shell(*RUN, "--resume") == 0
    (place / "out" / "clip.edges" / "mine.txt").write_text("mine")
    hard = [each for each in RUN if each != "--soft"]
    assert shell(*hard, "--overwrite") == 0
    assert [path.name for path in (place / "out" / "clip.edges").iterdir()] == ["mine.txt"]
    (place / "out" / "clip.edges" / "00003.npz").write_text("mine too")
    assert shell(*RUN, "--overwrite") == 1
    assert "00003.npz is there, and no summary says that vos wrote it" in capsys.readouterr().err
    assert (place / "out" / "clip.edges" / "00003.npz").read_text() == "mine too"


def test_a_run_with_edges_exports_them_in_one_go(place, capsys):
    options = ("--soft", "--export", "matte", "--export", "rgba", "--no-overlay")
    assert shell("clip.mp4", *OPTIONS, *options, "--method", "persam") == 0
    assert "soft edges: from the logits of the run" in capsys.readouterr().err
    results = vos.read_results("out")
    for number in range(NUM_RUN_FRAMES):
        (alpha,) = results.alpha(number)
        for name in ("matte", "rgba"):
            with Image.open(f"out/exports/{name}/clip/clip.{number + 1:04d}.png") as image:
                got = np.asarray(image)
            np.testing.assert_array_equal(got if name == "matte" else got[..., 3], alpha)


def test_exports_say_where_soft_edges_come_from(folder, caplog):
    caplog.set_level("INFO", "vos")
    options = ExportOptions(clean_up=CleanUp(soft=True))
    job = make_job(folder, (0, "both0"), method=FAST)
    vos.run_job(job, sam())
    export_results(results_of(job), ["matte"], folder / "hard", options)
    assert "soft edges: from the distance to the outline; vos-run --soft keeps" in caplog.text
    caplog.clear()
    vos.run_job(soft(job), sam(), overwrite=True)
    export_results(results_of(job), ["matte"], folder / "soft", options)
    assert "soft edges: from the logits of the run" in caplog.text
    labels = results_of(job).labels(5)
    for name in ("hard", "soft"):
        with Image.open(folder / name / "matte" / "clip" / "clip.0006.png") as image:
            np.testing.assert_array_equal(np.asarray(image) >= 128, labels > 0)


def test_clean_up_draws_outlines_of_its_own():
    """The logits' edges stay where nothing changed, and are those of the distance elsewhere."""
    claims = [claim(1, disc((20, 16), 9)), claim(2, disc((20, 45), 9))]
    labels = settle(claims, HW, "cpu").labels
    edges = match_edges(soft_edges(claims, labels), labels)
    cleaned = np.where(labels == 2, 0, labels).astype(np.uint8)
    cleaned[14:27, 38:52] = 2
    again = cleaned_edges(edges, labels, cleaned)
    check(alphas(again, cleaned, (1, 2)), cleaned, (1, 2))
    np.testing.assert_array_equal(alpha_of(again, cleaned, 1), alpha_of(edges, labels, 1))
    anew = alpha_of(match_edges(None, cleaned), cleaned, 2)
    near_old = np.abs(alpha_of(again, cleaned, 2).astype(int) - anew)
    assert (near_old > 1).sum() <= (2 * BAND_PX) ** 2


def damaged(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif how == "too large":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("alpha.npy", bytes(10_000_000))
    elif how == "pickle":
        np.savez(path, object_ids=np.array([{}]), steps=np.zeros(1, "i4"), alpha=np.zeros(1, "u1"))
    else:
        pixels = np.array([0, HW[0] * HW[1]]) if how == "outside" else np.array([0])
        steps = np.diff(pixels, prepend=0).astype(np.int64 if how == "kinds" else np.int32)
        np.savez(
            path,
            object_ids=np.ones(len(steps), "u1"),
            steps=steps,
            alpha=np.ones(len(steps) + (how == "lengths"), "u1"),
        )


@pytest.mark.parametrize(
    "how", ["gone", "cut", "too large", "pickle", "outside", "kinds", "lengths"]
)
def test_damaged_edges_are_one_clear_line(tmp_path, how):
    labels = settle([claim(1, disc((20, 30), 11))], HW, "cpu").labels
    path = tmp_path / "00000.npz"
    path.write_bytes(encode_edges(match_edges(None, labels)))
    assert encode_edges(read_edges(path, labels)) == path.read_bytes()
    damaged(path, how)
    with pytest.raises(OutputError, match=r"soft edges .*00000\.npz.*; run again with --overwrite"):
        read_edges(path, labels)


def test_a_job_without_the_field_is_hard(folder):
    job = make_job(folder, (0, "both0"), method=FAST)
    assert "soft" not in job.to_json_values()["config"]
    assert vos.Job.from_json(job.to_json()) == job
    document = json.loads(soft(job).to_json())
    assert document["config"]["soft"] is True
    assert vos.Job.from_json(json.dumps(document)) == soft(job)
