"""Features of another model beside SAM's: their grid, their weight, and what follows from them."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import app_server
import batches
import numpy as np
import pytest
import torch
from batches import run_batch, write_manifest
from colour_matcher import colour_matcher
from colour_sam import PALETTE, STRIDE_PX, ColourSam
from hypothesis import given
from hypothesis import strategies as st
from interrupted_runs import contents

import vos
from vos.app.jobs import command_of
from vos.batch.digest import digest_of
from vos.batch.manifest import open_manifest
from vos.cli import main, run_main
from vos.errors import InputError, MissingPackageError, OutputError
from vos.masks import write_label_png
from vos.run.state import encode_state
from vos.sam.geometry import Letterbox, frame_to_cells
from vos.sam.matching import fit_patches
from vos.sam.weights import registry
from vos.segment.forward import segment_steps
from vos.sink import write_video
from vos.track.published.encode import Encoded
from vos.track.published.locate import frame_similarities, peaks_of, similarity_maps
from vos.track.published.personalize import personalize

SMALL = "dinov2-small"
HW = (48, 80)
NUM_FRAMES = 10
SIDE_PX = 14
QUICK_MEMORY = vos.Memory(num_views=0, thin_parts=False)
METHODS = (QUICK_MEMORY, vos.PersamF(fit=vos.FitConfig(num_steps=5)), vos.Persam())


def sam_with(weight: float | None = 0.5, **options: object) -> vos.SamModel:
    matcher = None if weight is None else colour_matcher(weight)
    return vos.SamModel(
        ColourSam(), name="colour", weights_sha256="0" * 64, matcher=matcher, **options
    )


class BlindEncoder(torch.nn.Module):
    """Its image embedding is the same everywhere, so that SAM's own features find nothing."""

    img_size = 256

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        side = self.img_size // STRIDE_PX
        return torch.ones(len(images), len(PALETTE), side, side)


def draw(t: int) -> tuple[np.ndarray, np.ndarray]:
    """Three objects; the third leaves in the middle of the clip and returns where it was."""
    rgb = np.zeros((*HW, 3), np.uint8)
    labels = np.zeros(HW, np.uint8)
    corners = {1: (2 + t, 4), 2: (60, 2 + t), 3: (36, 30)}
    if 3 <= t < 6:
        del corners[3]
    for object_id, (left, top) in corners.items():
        part = slice(top, top + SIDE_PX), slice(left, left + SIDE_PX)
        rgb[part], labels[part] = PALETTE[object_id], object_id
    return rgb, labels


def make_clip(folder: Path) -> None:
    frames = vos.frames_from_arrays((draw(t)[0] for t in range(NUM_FRAMES)), fps=10)
    write_video(folder / "clip.mp4", frames, Fraction(10))
    write_label_png(folder / "mask.png", draw(0)[1])


@pytest.fixture
def folder(tmp_path) -> Path:
    make_clip(tmp_path)
    return tmp_path


def make_job(folder: Path, out: str = "out", **model: object) -> vos.Job:
    return vos.Job(
        source=str(folder / "clip.mp4"),
        references=(vos.Reference(mask=folder / "mask.png"),),
        outputs=vos.JobOutputs(folder=folder / out, overlay_alpha=None),
        model=vos.ModelChoice(**model),
        config=vos.RunConfig(method=QUICK_MEMORY),
    )


# The grids.


@given(
    st.tuples(st.integers(8, 900), st.integers(8, 900)),
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.sampled_from([16, 64]),
)
def test_a_cell_takes_what_lies_at_its_own_position(frame_hw, patches_hw, num_cells):
    """Of features that say where a patch lies, a cell gets where the cell lies, up to the rim."""
    letterbox = Letterbox(frame_hw, 1024)
    rows, columns = torch.meshgrid(*map(torch.arange, patches_hw), indexing="ij")
    patches = torch.stack([rows, columns]).double()
    cells, _ = frame_to_cells(patches, letterbox, (num_cells, num_cells))
    for axis, (num_patches, model_px) in enumerate(
        zip(patches_hw, letterbox.resized_hw, strict=True)
    ):
        centres = (torch.arange(num_cells).double() + 0.5) * (1024 / num_cells)
        wanted = (centres / model_px * num_patches - 0.5).clamp(0, num_patches - 1)
        got = cells[axis] if axis == 0 else cells[axis].T
        torch.testing.assert_close(got, wanted[:, None].expand_as(got), rtol=0, atol=1e-6)


def test_equal_grids_pass_features_on_as_they_are():
    patches = torch.randn(3, 16, 16)
    cells, is_inside = frame_to_cells(patches, Letterbox((90, 90), 512), (16, 16))
    assert is_inside.all()
    torch.testing.assert_close(cells, patches, rtol=0, atol=1e-5)


@given(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), st.integers(1, 80))
def test_a_picture_keeps_its_size_to_the_nearest_patch(picture_hw, max_patches):
    patches_hw = fit_patches(picture_hw, 14, max_patches)
    assert min(patches_hw) >= 1
    assert max(patches_hw) <= max_patches
    if max(picture_hw) <= 14 * max_patches:
        for num_patches, side_px in zip(patches_hw, picture_hw, strict=True):
            assert abs(14 * num_patches - side_px) <= max(7, 14 - side_px)


# The weights.


def cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(one, other, dim=0)


@given(st.floats(0.01, 1), st.integers(0, 1000))
def test_a_product_is_the_weighted_sum_of_the_cosines(weight, seed):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    matcher = colour_matcher(weight)
    embedding = torch.from_numpy(rng.normal(size=(5, 16, 16)).astype(np.float32))
    patches = matcher.encode(rgb, 16)
    assert patches.shape == (len(PALETTE), 16, 16)
    joined = matcher.match(embedding, rgb, Letterbox((32, 32), 32))
    one, other = (int(each) for each in rng.integers(0, 16, 2))
    expected = (1 - weight) * cosine(embedding[:, one, other], embedding[:, other, one])
    expected += weight * cosine(patches[:, one, other], patches[:, other, one])
    got = joined[:, one, other] @ joined[:, other, one]
    assert abs(float(got - expected)) < 1e-4
    norms = joined.square().sum(dim=0)
    torch.testing.assert_close(norms, torch.ones(16, 16), rtol=0, atol=1e-4)


def test_an_object_is_compared_by_the_stated_weights_too():
    """However much less alike its cells are in one of the models than in the other."""
    rgb, labels = draw(0)
    sam = sam_with(0.3)
    features = sam.encode([rgb])[0]
    encoded = Encoded(vos.Frame(0, 0.0, "0", rgb), features, sam.matching_features(features, rgb))
    targets = personalize([(encoded, labels)], (1, 2, 3), sam, METHODS[1])
    num_own = features.shape[0]
    own, further = targets.embeddings[:, :num_own], targets.embeddings[:, num_own:]
    torch.testing.assert_close(own.square().sum(1), torch.full((3,), 0.7))
    torch.testing.assert_close(further.square().sum(1), torch.full((3,), 0.3))
    maps = similarity_maps(targets.embeddings, encoded.matching)
    assert maps.max() <= 1 + 1e-5


def test_further_features_find_what_sams_own_do_not_see():
    rgb, labels = draw(0)
    letterbox = Letterbox(HW, 256)
    peaks = {}
    for weight in (None, 0.5):
        matcher = None if weight is None else colour_matcher(weight)
        module = ColourSam()
        module.image_encoder = BlindEncoder()
        sam = vos.SamModel(module, matcher=matcher)
        features = sam.encode([rgb])[0]
        encoded = Encoded(
            vos.Frame(0, 0.0, "0", rgb), features, sam.matching_features(features, rgb)
        )
        targets = personalize([(encoded, labels)], (1, 2, 3), sam, METHODS[1])
        found = peaks_of(frame_similarities(targets.embeddings, encoded.matching, letterbox))
        peaks[weight] = [int(labels[y, x]) for x, y in found.points_xy]
    assert peaks == {None: [0, 0, 0], 0.5: [1, 2, 3]}


def test_settings_are_checked_and_named():
    for weight in (0, -1, 1.1):
        with pytest.raises(InputError, match=r"within \(0, 1\]"):
            vos.Features(name="dinov2-small", weight=weight)
    with pytest.raises(vos.errors.UnknownModelError, match="did you mean dinov2-base"):
        vos.load_sam(features=vos.Features(name="dinov2_base"))


# Videos.


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_of_three_objects_one_leaves_and_returns(method):
    drawn = [draw(t) for t in range(NUM_FRAMES)]
    frames = vos.frames_from_arrays(rgb for rgb, _ in drawn)
    config = vos.RunConfig(method=method)
    found = [masks for _, masks in vos.segment_video(frames, drawn[0][1], sam_with(), config)]
    for t, (masks, (_, truth)) in enumerate(zip(found, drawn, strict=True)):
        for object_id in (1, 2, 3):
            mask, wanted = masks.labels == object_id, truth == object_id
            if wanted.any() and t != 6:  # a return may take a frame
                assert (mask & wanted).sum() / (mask | wanted).sum() > 0.7, (t, object_id)
            elif not wanted.any():
                assert not mask.any(), (t, object_id)


def test_no_state_grows_with_the_video():
    rgb, labels = draw(0)
    frames = vos.frames_from_arrays(rgb for _ in range(14))
    steps = segment_steps(frames, labels, sam_with(), vos.RunConfig(method=QUICK_MEMORY))
    sizes = [len(encode_state(step.progress)) for step in steps]
    assert max(sizes[6:]) - min(sizes[6:]) <= 0.01 * sizes[6]


def test_a_run_goes_on_with_the_same_bytes_and_refuses_other_features(folder):
    whole = vos.run_job(make_job(folder, "whole"), sam_with())
    assert whole.is_complete

    def stop_after(num_frames: int):
        calls = iter(range(100))
        return lambda: next(calls) >= num_frames

    job = make_job(folder, "cut")
    first = vos.run_job(job, sam_with(), should_stop=stop_after(5))
    assert not first.is_complete
    for other in (sam_with(None), sam_with(0.6)):
        with pytest.raises(OutputError, match="features"):
            vos.run_job(job, other, resume=True)
    assert vos.run_job(job, sam_with(), resume=True).is_complete
    assert labels_in(folder / "cut") == labels_in(folder / "whole")
    summary = json.loads((folder / "cut/clip.json").read_text())
    assert summary["features"] == {
        "name": "colours",
        "weight": 0.5,
        "weights_sha256": "1" * 64,
    }
    assert "transformers" in summary["versions"]
    with pytest.raises(OutputError, match="features"):
        vos.run_job(job, sam_with(None), update=True)


def labels_in(folder: Path) -> dict[str, bytes]:
    found = contents(folder)
    return {name: found[name] for name in found if name.endswith(".png")}


def test_a_batch_gives_what_a_run_gives(folder):
    """Its jobs say which features, and the worker loads them."""
    published = replace(make_job(folder), config=batches.DEFAULTS.config)
    vos.run_job(published, sam_with())
    loaded = []

    def load(choice: vos.ModelChoice) -> vos.SamModel:
        loaded.append(choice.features)
        return sam_with()

    row = {"video": "clip.mp4", "mask": "mask.png", "name": "clip"}
    manifest = write_manifest(folder, [row | {"model": {"features": {"name": SMALL}}}])
    outcomes = run_batch(manifest, folder / "batch", load_model=load)
    assert [each.state for each in outcomes.values()] == ["done"]
    assert loaded == [vos.Features(name=SMALL)]
    expected = labels_in(folder / "out")
    assert len(expected) == NUM_FRAMES
    assert list(labels_in(folder / "batch").values()) == list(expected.values())


def test_the_page_gives_what_a_run_gives(tmp_path):
    clip = app_server.make_clip(tmp_path / "clip.mp4", 6)
    left, top = app_server.corner_of(1, 0)
    with app_server.serving(clip, tmp_path / "page", sam_with()) as served, served.page() as page:
        page.click(1)
        page.track()
        shown = [page.labels(index) for index in range(6)]
    job = vos.Job(
        source=str(clip),
        references=(vos.Reference(hints={1: vos.Hint((vos.Click(left + 15, top + 15),))}),),
        outputs=vos.JobOutputs(folder=tmp_path / "run", overlay_alpha=None),
    )
    vos.run_job(job, sam_with())
    results = vos.read_results(tmp_path / "run")
    for index, labels in enumerate(shown):
        np.testing.assert_array_equal(labels, results.labels(index))


# Jobs and options.


def test_a_job_carries_the_features_to_json_and_back():
    choice = vos.ModelChoice(
        features=vos.Features(name=SMALL, weight=0.25, checkpoint=Path("d.safetensors"))
    )
    job = vos.Job(source="a.mp4", references=(vos.Reference(mask=Path("m.png")),), model=choice)
    assert vos.Job.from_json(job.to_json()) == job
    assert command_of(job).endswith(
        f"--features {SMALL} --features-weight 0.25 --features-checkpoint d.safetensors"
    )
    document = job.to_json_values()
    del document["model"]["features"]
    assert vos.Job.from_json(json.dumps(document)).model.features is None
    document["model"]["features"] = {"name": SMALL, "weight": 2.0}
    with pytest.raises(InputError, match="weight of features"):
        vos.Job.from_json(json.dumps(document))


def test_rows_of_a_batch_name_their_own_weights_and_are_told_apart_by_them(folder):
    (folder / "d.safetensors").write_bytes(b"d")
    row = {"video": "clip.mp4", "mask": "mask.png"}
    choices = [
        None,
        {"name": SMALL},
        {"name": SMALL, "weight": 0.4},
        {"name": "dinov2-base"},
        {"name": SMALL, "checkpoint": "d.safetensors"},
    ]
    rows = [
        row | {"name": f"n{number}", "model": {"features": choice}}
        for number, choice in enumerate(choices)
    ]
    manifest = open_manifest(str(write_manifest(folder, rows)), batches.DEFAULTS)
    assert manifest.check() == len(rows)
    tasks = list(manifest.tasks())
    assert tasks[4].job.model.features.checkpoint == folder / "d.safetensors"
    assert len({digest_of(replace(task, name="n"), pack=None) for task in tasks}) == len(rows)
    bad = write_manifest(
        folder,
        [
            row | {"name": "a", "model": {"features": {"name": "dinov2_small"}}},
            row | {"name": "b", "model": {"features": {"name": SMALL, "checkpoint": "no"}}},
        ],
    )
    with pytest.raises(InputError) as caught:
        open_manifest(str(bad), batches.DEFAULTS).check()
    assert "did you mean dinov2-small" in str(caught.value)
    assert f"there is no weights file {folder / 'no'}" in str(caught.value)


def shell(program, *args: object) -> int:
    with pytest.raises(SystemExit) as end:
        program([str(arg) for arg in args])
    return end.value.code


def test_options_that_belong_to_features_are_refused_without_them(folder, capsys):
    arguments = (folder / "clip.mp4", "--ref-mask", folder / "mask.png")
    assert shell(run_main, *arguments, "--features-weight", "0.4") == 2
    assert "--features-weight belongs to --features dinov2-small" in capsys.readouterr().err
    assert shell(run_main, *arguments, "--features", SMALL, "--features-weight", "0") == 2


@pytest.mark.parametrize(
    ("choice", "arguments"),
    [
        (("--features", SMALL), {"features": vos.Features(name=SMALL)}),
        (("--model", "sam_hq_vit_b"), {"name": "sam_hq_vit_b"}),
    ],
)
def test_without_its_package_a_model_is_refused_with_what_to_do(
    choice, arguments, folder, monkeypatch, capsys
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = f"{choice[1]} needs the package transformers: pip install 'vos-persam[models]'"
    clip, mask = folder / "clip.mp4", folder / "mask.png"
    for command in (
        ("run", clip, "--ref-mask", mask),
        ("batch", folder / "jobs.jsonl", "--out", folder / "out"),
        ("images", mask, mask, mask, "--out", folder / "out"),
    ):
        assert shell(main, *command, *choice) == 2
        assert capsys.readouterr().err == f"Error: {told}\n"
    with pytest.raises(MissingPackageError, match=re.escape(told)):
        vos.load_sam(**arguments)


def test_models_says_where_a_file_comes_from(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("VOS_CACHE", str(tmp_path))
    assert shell(main, "models", "--details") == 0
    shown = capsys.readouterr().out
    for spec in (*registry.MODELS.values(), *registry.FEATURES.values()):
        for part in (spec.name, spec.url, spec.sha256, spec.licence, spec.accuracy):
            assert (part or "unknown") in shown, part
        if spec.url is not None:
            assert str(tmp_path / spec.file_name) in shown
