import csv
import dataclasses
import hashlib
import io
import os
import signal
import subprocess
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

import start_nano  # noqa: E402
import train_nano  # noqa: E402
from nano_training import objective, trainer, views  # noqa: E402
from nano_training.clips import PADDING  # noqa: E402
from nano_training.decoder import Prompts, decode  # noqa: E402
from nano_training.first_weights import DECODER_PARTS, TRUNK_NORMS  # noqa: E402
from nano_training.objective import segmentation_loss, tight_boxes  # noqa: E402
from nano_training.pairs import Pair, PairSet, hold_out, read_pairs  # noqa: E402
from nano_training.shapes import draw_scene  # noqa: E402
from nano_training.trainer import Plan, State, train, train_step  # noqa: E402
from nano_training.views import BatchStream, Recipe, draw_batch, prepare_loader  # noqa: E402

from vos.errors import CheckpointError, InputError  # noqa: E402
from vos.sam.networks.nano import build_nano  # noqa: E402

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


def make_videos(names, num_frames=3):
    return PairSet(
        tuple(
            Pair(group, f"{name}{number}", b"", b"")
            for group, name, number in (
                *(("davis16", name, f"_{2 * i:05d}") for name in names for i in range(num_frames)),
                ("duts", "a", "_00001"),
            )
        )
    )


def test_videos_are_held_out_by_a_hash_of_their_names():
    names = [f"video-{i}" for i in range(10)]
    seen, unseen = hold_out(make_videos(names), 4)
    first = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:4]
    assert {name for _, name in unseen.videos} == set(first)
    assert {name for _, name in seen.videos} == set(names) - set(first)
    assert len(seen.pairs) + len(unseen.pairs) == 31
    # Pictures are no videos, whatever they are called.
    assert [pair.name for pair in seen.pairs if pair.group == "duts"] == ["a_00001"]
    # Of a part of the data the same are held out, as far as they are there.
    fewer = hold_out(make_videos(names[:7]), 4)[1]
    assert set(first) & set(names[:7]) <= {name for _, name in fewer.videos}


def test_held_out_videos_are_never_trained_on(tmp_path, monkeypatch):
    source = write_tar(tmp_path / "pairs.tar", make_files())
    recipes = []
    monkeypatch.setattr(train_nano, "train", lambda _plan, recipe: recipes.append(recipe))
    for num_held_out in ("0", "1"):
        options = ["--data", str(source), "--hold-out", num_held_out]
        result = CliRunner().invoke(train_nano.main, ["--out", str(tmp_path), *options])
        assert result.exit_code == 0, result.output
    everything, fewer = recipes
    assert {pair.name for pair in everything.pairs.pairs} > {"run_00000", "a"}
    assert [pair.name for pair in fewer.pairs.pairs] == ["a"]


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
        assert batch.images.shape == (6, 96, 96, 3)
        assert batch.masks.flatten(1).any(dim=1).all()
        # Where the content is 16:9 the rest is padding, and no object is there.
        is_padding = (batch.images == PADDING).all(dim=3).all(dim=2)
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
    assert {(b.images.shape[1], len(b.images)) for b in batches} == {(64, 4), (128, 2)}


@pytest.mark.parametrize("start", [0, 5])
def test_batches_are_the_same_for_any_number_of_loader_processes(start):
    recipe = dataclasses.replace(SCENES, clip_share=0.5)
    streams = []
    for num_workers in (0, 1, 2):
        loader = torch.utils.data.DataLoader(
            BatchStream(recipe, start),
            batch_size=None,
            num_workers=num_workers,
            # Without it OpenCV can wait in a forked process for threads that only its parent has.
            worker_init_fn=prepare_loader,
        )
        streams.append([batch.images for batch, _ in zip(loader, range(4), strict=False)])
    for batches in zip(*streams, strict=True):
        assert all(torch.equal(batch, batches[0]) for batch in batches)
    assert torch.equal(streams[0][1], draw_batch(recipe, start + 1).images)


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


def test_thin_parts_and_gaps_weigh_more():
    truth = torch.zeros(1, 40, 60)
    truth[0, 10:30, 5:25] = 1
    truth[0, 19:21, 25:50] = 1  # A tail,
    truth[0, 10:30, 14:16] = 0  # and a slit.
    weights = objective.detail_weights(truth)[0]
    assert (weights[19:21, 30:46] > 2).all()
    assert (weights[14:26, 14:16] > 2).all()
    assert (weights[17:23, 9:13] == 1).all()
    assert (weights[34:, :] == 1).all()
    missed = torch.where(truth > 0, 5.0, -5.0)
    missed[0, 19:21, 25:50] = -5
    plain, weighted = (segmentation_loss(missed[:, None], truth, w) for w in (None, weights[None]))
    assert weighted > plain


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


@pytest.mark.parametrize("clip_share", [0.0, 1.0])
def test_training_on_one_batch_lowers_its_loss(clip_share):
    state = State.start(train_nano.PACKAGED_WEIGHTS, CPU)
    batch = draw_batch(dataclasses.replace(SCENES, clip_share=clip_share), 0)
    totals = []
    for _ in range(5):
        # Past the warm-up.
        state.step = trainer.WARM_UP_STEPS
        totals.append(float(train_step(state, batch, 0.0, CPU)["total"]))
    assert totals[-1] < 0.8 * totals[0]


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


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_run_told_to_end_keeps_what_it_learned(plan, num_workers, monkeypatch):
    plan, trained_by = dataclasses.replace(plan, num_workers=num_workers), os.getpid()

    def draw_and_be_told(recipe, index):
        for pid in {trained_by, os.getpid()}:
            os.kill(pid, signal.SIGTERM)
        return draw_batch(recipe, index)

    with monkeypatch.context() as patch:
        patch.setattr(views, "draw_batch", draw_and_be_told)
        assert train(plan, SCENES).step == 1
    assert train(plan, SCENES).step == 2
    assert _read_steps(plan.out / trainer.LOG_NAME) == [1, 2]


def test_a_run_that_fails_ends(tmp_path):
    """At its exit Python waits for the loader processes, which a plain SIGTERM does not end."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(train_nano.__file__).parent)!r})
import train_nano
from nano_training import trainer

def fail(*_):
    raise RuntimeError("the device is gone")

trainer.train_step = fail
train_nano.main(["--out", "run", "--batch", "1", "--view-size", "64", "--workers", "2"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=90
    )
    assert done.returncode == 1
    assert "the device is gone" in done.stderr


@pytest.mark.parametrize("stage", ["neck", "most", "all", "whole"])
def test_a_stage_trains_its_parts_only(stage):
    sam = State.start(train_nano.PACKAGED_WEIGHTS, CPU, trainer.STAGES[stage]).sam
    trained = {name for name, p in sam.named_parameters() if p.requires_grad}
    assert any(name.startswith("image_encoder.neck") for name in trained)
    for first in ("trunk.stem.conv", "trunk.stages.1.0.project_conv"):
        assert (f"image_encoder.{first}.weight" in trained) == (stage == "whole")
    assert any("mask_decoder" in name for name in trained) == (stage != "neck")
    kernel = "image_encoder.trunk.stages.5.0.depthwise_conv.weight"
    assert (kernel in trained) == (stage in ("all", "whole"))
    assert any("trunk.stages.5.0.project_conv" in name for name in trained) == (stage != "neck")


def test_first_weights_come_from_both_files(tmp_path):
    model = build_nano().state_dict()
    published, decoder = {"_fc.weight": torch.zeros(3)}, {theirs: {} for theirs in DECODER_PARTS}
    norms = {ours: theirs for theirs, ours in TRUNK_NORMS.items()}
    blocks = {}
    for key, value in model.items():
        match key.split("."):
            case ["image_encoder", "trunk", "stem", part, tensor]:
                published[f"{'_conv_stem' if part == 'conv' else '_bn0'}.{tensor}"] = value
            case ["image_encoder", "trunk", "stages", stage, block, part, tensor]:
                number = blocks.setdefault((stage, block), len(blocks))
                published[f"_blocks.{number}.{norms.get(part, '_' + part)}.{tensor}"] = value
            case [part, *rest] if part in DECODER_PARTS.values():
                theirs = next(name for name, ours in DECODER_PARTS.items() if ours == part)
                decoder[theirs][".".join(rest)] = value
    torch.save(published, tmp_path / "trunk.pth")
    torch.save(decoder, tmp_path / "decoder.pt")
    out = tmp_path / "start.safetensors"
    options = ["--trunk", str(tmp_path / "trunk.pth"), "--decoder", str(tmp_path / "decoder.pt")]
    result = CliRunner().invoke(start_nano.main, [*options, "--out", str(out)])
    assert result.exit_code == 0, result.output
    for key, value in load_file(out).items():
        if ".neck." not in key:
            assert torch.equal(value, model[key].half()), key
    del published["_blocks.3._bn1.bias"]
    torch.save(published, tmp_path / "trunk.pth")
    result = CliRunner().invoke(start_nano.main, [*options, "--out", str(out)])
    assert result.exit_code == 1
    assert "stages.2.0.depthwise_norm.bias" in result.output


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
