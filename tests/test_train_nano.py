import csv
import dataclasses
import io
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

import train_nano  # noqa: E402
from nano_training import trainer, views  # noqa: E402
from nano_training.decoder import Prompts, decode  # noqa: E402
from nano_training.objective import segmentation_loss, tight_boxes  # noqa: E402
from nano_training.pairs import read_pairs  # noqa: E402
from nano_training.shapes import draw_scene  # noqa: E402
from nano_training.trainer import Plan, State, train, train_step  # noqa: E402
from nano_training.views import Recipe, draw_batch  # noqa: E402

from vos.errors import CheckpointError, InputError  # noqa: E402
from vos.sam.nano import build_nano  # noqa: E402

CPU = torch.device("cpu")
SCENES = Recipe(pairs=None, seed=3, num_pairs=2, view_sizes_px=(64,))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Views this small gain nothing from threads."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def make_files(num_frames=4):
    """One video of the group davis16 and one photo, as file names and contents."""
    files = {}
    rng = np.random.default_rng(0)
    frames = draw_scene(rng, (90, 160), tuple(np.linspace(0, 0.1, num_frames)))
    names = [f"davis16/run_{2 * i:05d}" for i in range(num_frames)]
    photo = draw_scene(rng, (120, 80), (0.0,))
    for name, (image, labels) in zip([*names, "duts/a"], [*frames, *photo], strict=True):
        files[f"{name}.jpg"] = cv2.imencode(".jpg", image)[1].tobytes()
        files[f"{name}.png"] = cv2.imencode(".png", labels)[1].tobytes()
    return files


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return read_pairs([write_tar(tmp_path_factory.mktemp("pairs") / "pairs.tar", make_files())])


@pytest.fixture
def plan(tmp_path):
    return Plan(
        out=tmp_path / "run",
        init=train_nano.PACKAGED_WEIGHTS,
        device=CPU,
        num_steps=2,
        save_every_minutes=0,
        num_workers=0,
    )


def test_tar_and_folder_give_the_same_pairs(tmp_path, pairs):
    for name, content in make_files().items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert read_pairs([tmp_path]).pairs == pairs.pairs
    image, labels = pairs.pairs[0].decode()
    assert image.shape == (90, 160, 3)
    assert labels.shape == (90, 160)
    assert labels.any()


def test_frames_near_stay_within_the_video(pairs):
    by_name = {pair.name: pair for pair in pairs.pairs}
    near = pairs.frames_near(by_name["run_00002"], max_distance=2)
    assert [pair.name for pair in near] == ["run_00000", "run_00004"]
    assert pairs.frames_near(by_name["a"], max_distance=100) == []


@pytest.mark.parametrize("kind", ["missing", "empty folder", "text"])
def test_sources_without_pairs_are_named(tmp_path, kind):
    source = tmp_path / "source"
    if kind == "empty folder":
        source.mkdir()
    elif kind == "text":
        source.write_text("no tar")
    with pytest.raises(InputError, match="source"):
        read_pairs([source])


def test_a_label_map_of_another_size_is_named(tmp_path):
    files = make_files()
    files["duts/a.png"] = files["davis16/run_00000.png"]
    (pair,) = (p for p in read_pairs([write_tar(tmp_path / "t", files)]).pairs if p.name == "a")
    with pytest.raises(InputError, match="duts/a"):
        pair.decode()


def test_scenes_move_and_overlap_by_id():
    (first, first_labels), (second, second_labels) = draw_scene(
        np.random.default_rng(1), (72, 128), (0.0, 1.0)
    )
    assert first.shape == second.shape == (72, 128, 3)
    assert 1 <= first_labels.max() <= 5
    assert (first_labels != second_labels).any()


@pytest.mark.parametrize("from_disk", [False, True])
def test_views_show_the_object_inside_the_content(pairs, from_disk):
    recipe = Recipe(pairs=pairs if from_disk else None, seed=5, num_pairs=3, view_sizes_px=(96,))
    for index in range(6):
        batch = draw_batch(recipe, index)
        assert batch.images.shape == (6, 3, 96, 96)
        assert batch.masks.flatten(1).any(dim=1).all()
        # Where the content is 16:9 the rest is zero, and no object is there.
        is_padding = (batch.images == 0).all(dim=1).all(dim=2)
        assert set(is_padding.sum(dim=1).tolist()) <= {0, 96 - 54}
        assert not (batch.masks & is_padding[:, :, None]).any()
        boxes = batch.boxes_xyxy
        assert ((boxes >= 0) & (boxes < 96)).all()
        assert (boxes[:, :2] <= boxes[:, 2:]).all()


def test_a_batch_depends_on_seed_and_index_alone(pairs):
    recipe = Recipe(pairs=pairs, seed=5, num_pairs=2, view_sizes_px=(64, 128))
    batches = [draw_batch(recipe, index) for index in range(5)]
    assert torch.equal(draw_batch(recipe, 3).images, batches[3].images)
    assert not torch.equal(draw_batch(recipe, 4).masks, batches[3].masks)
    # Larger views come fewer at a time.
    assert {(b.images.shape[-1], len(b.images)) for b in batches} == {(64, 4), (128, 2)}


def test_tight_boxes_are_in_model_pixels():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:4, 1:6] = True
    fallback = torch.tensor([[0.0, 0, 1, 1], [7, 7, 9, 9]])
    boxes = tight_boxes(masks, fallback)
    torch.testing.assert_close(boxes, torch.tensor([[2.5, 4.5, 10.5, 6.5], [7, 7, 9, 9]]))


def test_segmentation_loss_rewards_the_right_mask_only():
    truth = torch.zeros(1, 8, 8, dtype=torch.bool)
    truth[0, 2:6, 2:6] = True
    right = torch.where(truth, 12.0, -12.0)[:, None]
    losses = segmentation_loss(torch.cat([right, -right], dim=1), truth)[0]
    assert losses[0] < 0.05
    assert losses[1] > 20


@torch.no_grad()
def test_a_batch_decodes_as_its_views_one_by_one():
    sam = State.start(train_nano.PACKAGED_WEIGHTS, CPU).sam
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 256, 8, 8, generator=generator)
    points = torch.rand(2, 2, 2, generator=generator) * 63
    boxes = torch.tensor([[3.0, 4, 40, 50], [10, 10, 60, 30]])
    masks = torch.randn(2, 32, 32, generator=generator)
    sam.prompt_encoder.input_image_size, sam.prompt_encoder.image_embedding_size = (64, 64), (8, 8)
    decoded = decode(sam, features, Prompts(points, boxes), masks, 64)
    logits, scores = decoded.logits, decoded.scores
    for i in range(2):
        # SAM's own call, in float32 where training multiplies in bfloat16.
        encoder = sam.prompt_encoder
        sparse, dense = encoder(
            points=(points[i : i + 1], torch.ones(1, 2)),
            boxes=boxes[i : i + 1],
            masks=masks[i : i + 1, None],
        )
        wanted, wanted_scores = sam.mask_decoder(
            image_embeddings=features[i : i + 1],
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        scale = wanted.abs().max()
        assert (logits[i] - wanted[0]).abs().max() < 0.05 * scale
        assert (scores[i] - wanted_scores[0]).abs().max() < 0.05


def test_training_on_one_batch_lowers_its_loss():
    state = State.start(train_nano.PACKAGED_WEIGHTS, CPU)
    batch = draw_batch(SCENES, 0)
    totals = []
    for _ in range(5):
        # The step number decides the prompts too, so it stays.
        state.step = trainer.WARM_UP_STEPS
        totals.append(train_step(state, batch, 0.0, CPU)["total"])
    assert totals[-1] < 0.75 * totals[0]


def test_a_killed_run_ends_as_if_it_had_not_been(plan, tmp_path, monkeypatch):
    whole = train(plan, SCENES)
    interrupted = dataclasses.replace(plan, out=tmp_path / "killed")

    def draw_until_killed(recipe, index):
        if index == 1:
            raise KeyboardInterrupt
        return draw_batch(recipe, index)

    with monkeypatch.context() as patch:
        patch.setattr(views, "draw_batch", draw_until_killed)
        with pytest.raises(KeyboardInterrupt):
            train(interrupted, SCENES)
    resumed = train(interrupted, SCENES)
    assert resumed.step == whole.step == 2
    assert resumed.num_pairs == whole.num_pairs == 4
    for name, value in whole.averaged_weights().items():
        assert torch.equal(value, resumed.averaged_weights()[name]), name
    assert _read_steps(interrupted.out / trainer.LOG_NAME) == [1, 2]


def _read_steps(log):
    with log.open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_log_rows_after_the_checkpoint_are_dropped(tmp_path):
    log = tmp_path / trainer.LOG_NAME
    log.write_text("step,total\n25,3\n50,2\n75,1\n")
    trainer.StepLog(log, step=50)
    assert _read_steps(log) == [25, 50]


def test_weights_of_another_model_are_named(tmp_path):
    other = tmp_path / "other.safetensors"
    head = trainer.SimilarityHead()
    trainer.save_weights(other, {"a": torch.zeros(2)}, head, torch.float16)
    with pytest.raises(CheckpointError, match="does not fit"):
        State.start(other, CPU)
    other.write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="no safetensors"):
        State.start(other, CPU)


def test_command_line_trains_and_packs(tmp_path):
    out, packed = tmp_path / "run", tmp_path / "packed.safetensors"
    options = ["--out", str(out), "--steps", "1", "--batch", "1", "--view-size", "64"]
    result = CliRunner().invoke(train_nano.main, [*options, "--workers", "0"])
    assert result.exit_code == 0, result.output
    assert (out / "log.png").stat().st_size > 0
    result = CliRunner().invoke(train_nano.main, ["--out", str(out), "--pack", str(packed)])
    assert result.exit_code == 0, result.output
    weights = load_file(packed)
    assert set(weights) == set(build_nano().state_dict())
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert packed.stat().st_size <= 16 * 1024**2


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (["--view-size", "100"], 2, "multiples of 32"),
        (["--data", "absent.tar"], 1, "absent.tar"),
        (["--pack", "x.safetensors"], 1, "last.pt"),
    ],
)
def test_command_line_names_mistakes(tmp_path, options, exit_code, message):
    result = CliRunner().invoke(train_nano.main, ["--out", str(tmp_path), *options])
    assert result.exit_code == exit_code
    assert message in result.output
