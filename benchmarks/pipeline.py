"""Time of the whole pipeline and of each stage, against the bare model and the plain way.

    python benchmarks/pipeline.py                                  # everything
    python benchmarks/pipeline.py --model nano --objects 1 --davis ../shared/davis
    python benchmarks/pipeline.py --table                          # the rows, into the docs

A synthetic clip of 854 x 480 px lies as JPEGs in a temporary folder. ``whole`` is what vos-run does
with it, from files to label maps, overlay and summary, per frame after the reference. ``plain`` is
the same model driven as benchmarks/plain.py says, taking turns with it. ``bare`` is a frame's
encoder and decoder calls, as many as the run had, and nothing else; ``bare_original`` the encoder
and three calls of segment_anything's own decoder. Stages are timed alone, taking turns; together
they may take longer than the whole, in which reading overlaps. Figures are medians of rounds, with
the least and greatest of the whole.

On a machine that others use too, ``--clock cpu`` counts the seconds of the processor instead of
those of the wall; then nothing is gained by overlapping, and threads add up.

As in vos-run, freed memory is kept for the next frame. The plain way runs in a process of its own,
where the allocator is as it is found.

Each row runs in a process of its own, so that its peak memory is its own: ``peak_mib`` before the
plain way runs. Where no weights are there they are random, with biases that keep every mask from
being empty, so that no decoder call is left out. Rows are appended to benchmarks/pipeline.csv.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from davis import run_and_score
from methods import chosen, method_option
from PIL import Image
from plain import PlainObject, PlainSam, run_plainly
from rows import Row, append_row, environment, markdown, peak_mib, processor, put_table

import vos
from vos.masks import object_ids, write_label_png
from vos.run.outputs import Outputs
from vos.run.results import write_results
from vos.sam.geometry import low_res_to_frame, resize_for_model
from vos.sam.model import Decoded, SamModel
from vos.sam.networks.architectures import build_module
from vos.sam.networks.batch_norm import fuse_batch_norms
from vos.sam.weights.checkpoints import load_weights
from vos.sam.weights.download import cached_file
from vos.sam.weights.registry import find_model
from vos.sink import write_overlay
from vos.sink.overlay import OverlayStyle
from vos.synthetic import ClipConfig, make_clip
from vos.track.masks import measure as measure_labels
from vos.track.masks import merge
from vos.track.published.encode import Encoded
from vos.track.published.locate import frame_similarities, peaks_of
from vos.track.published.personalize import personalize
from vos.track.published.scale_fit import fit_scale_weights
from vos.track.published.targets import Targets

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = time.perf_counter

RESULTS = Path(__file__).with_suffix(".csv")
FRAME_HW = (480, 854)
DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
PLAIN_FIT_STEPS = 4
NUM_FIT_STEPS = 800
STAGES = ("read", "resize", "encode", "locate", "prompts", "enlarge", "merge", "write", "overlay")
COLUMNS = {
    "model": "model",
    "settings": "method",
    "objects": "objects",
    "dtype": "dtype",
    "device": "device",
    "cpu": "processor",
    "threads": "threads",
    "clock": "clock",
    "vos": "build",
    "whole_ms": "a frame, ms",
    "ratio_to_bare": "of bare",
    "gain_on_plain": "gain on plain",
    "peak_mib": "peak, MiB",
}
TABLES: dict[str, Callable[[dict[str, str]], bool]] = {
    "of the embedded model": lambda row: is_nano(row) and row["objects"] == "1",
    "of many objects": lambda row: is_nano(row) and row["objects"] != "1",
    "of bigger models": lambda row: row["model"] != "nano" and row["device"] == "cpu",
    "on a GPU": lambda row: row["device"] != "cpu",
}
"""What each table of the docs has of the rows."""


def is_nano(row: dict[str, str]) -> bool:
    """Whether a row is of the embedded model on a processor."""
    return row["model"] == "nano" and row["device"] == "cpu"


class Recording(SamModel):
    """Keeps what the decoder was asked, and how much was encoded, since that was last cleared."""

    asked: list[tuple[Any, ...]]
    num_encoded: int

    def clear(self) -> None:
        self.asked, self.num_encoded = [], 0

    def encode(self, pictures: Sequence[Any]) -> torch.Tensor:
        self.num_encoded += len(pictures)
        return super().encode(pictures)

    def decode(self, *args: Any, **kwargs: Any) -> Decoded:
        self.asked.append((args, kwargs))
        return super().decode(*args, **kwargs)


@click.command()
@click.option("--model", "models", multiple=True, default=("nano", "mobile_sam", "vit_b"))
@click.option("--objects", "numbers", multiple=True, type=int, default=(1, 3, 10))
@method_option
@click.option("--device", default="cpu")
@click.option("--dtype", default="float32")
@click.option("--skip-padding", is_flag=True, help="As load_sam's.")
@click.option("--threads", default=os.cpu_count())
@click.option("--clock", "clock_name", default="wall", type=click.Choice(list(CLOCKS)))
@click.option("--frames", "num_frames", default=5, help="Frames of a round after the reference.")
@click.option("--rounds", "num_rounds", default=3)
@click.option("--davis", type=click.Path(path_type=Path), help="DAVIS 2016 root, for J&F.")
@click.option("--note", default="", help="A word on what these rows are for.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
@click.option("--table", is_flag=True, help="Put the rows of the CSV into the docs.")
@click.option("--child", is_flag=True, hidden=True)
def main(
    models: tuple[str, ...],
    numbers: tuple[int, ...],
    method: str | None,
    device: str,
    dtype: str,
    skip_padding: bool,
    threads: int,
    clock_name: str,
    num_frames: int,
    num_rounds: int,
    davis: Path | None,
    note: str,
    results: Path,
    table: bool,
    child: bool,
) -> None:
    """Append one row per model and number of objects."""
    if table:
        write_table(results)
        return
    if not child:
        for model, number in itertools.product(models, numbers):
            own = ["--model", model, "--objects", str(number), "--note", note, "--child"]
            own += ["--results", str(results)]
            settings = ["--device", device, "--dtype", dtype, "--threads", str(threads)]
            settings += ["--clock", clock_name]
            settings += ["--frames", str(num_frames), "--rounds", str(num_rounds)]
            settings += ["--method", method] if method else []
            settings += ["--skip-padding"] if skip_padding else []
            settings += ["--davis", str(davis)] if davis and number == 1 else []
            subprocess.run([sys.executable, __file__, *own, *settings], check=True)
        return
    global clock
    clock = CLOCKS[clock_name]
    torch.set_num_threads(threads)
    vos.keep_freed_memory()
    config, settings = chosen(method)
    sam, weights = build(models[0], device, dtype, skip_padding)
    row: Row = {
        **environment(),
        "cpu": processor(),
        "threads": threads,
        "clock": clock_name,
        "device": card_name(sam.device),
        "model": models[0],
        "weights": weights,
        "dtype": f"{dtype}, skip_padding" if skip_padding else dtype,
        "settings": settings,
        "objects": numbers[0],
        **measure(sam, config, numbers[0], num_frames, num_rounds),
        "J&F": "",
        "note": note,
    }
    if davis and weights != "random":
        scores, _, _ = run_and_score(davis, 2016, "val", sam, config)
        row["J&F"] = round(scores.statistics.measures()["J&F-Mean"], 4)
    append_row(results, row)


def build(model: str, device: str, dtype: str, skip_padding: bool) -> tuple[Recording, str]:
    """The model and where its weights are from."""
    if cached_file(find_model(model)) is not None:
        loaded = vos.load_sam(model, device=device, dtype=dtype)
        module, weights = loaded._sam, (loaded.weights_sha256 or "")[:12]
    else:
        module, weights = build_module(model), "random"
        generator = torch.Generator().manual_seed(0)
        state = {}
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                gain = (2 / max(1, tensor[0].numel())) ** 0.5 if tensor.ndim > 1 else 0.02
                own = gain * torch.randn(tensor.shape, generator=generator)
                is_scale = tensor.ndim < 2 and name.endswith(("weight", "running_var"))
                state[name] = own.abs() + 1 if is_scale else own
            else:
                state[name] = tensor
        state["mask_decoder.output_upscaling.3.bias"] += 2
        for n in range(module.mask_decoder.num_mask_tokens):
            state[f"mask_decoder.output_hypernetworks_mlps.{n}.layers.2.bias"] += 3
        load_weights(module, state, origin="random")
        fuse_batch_norms(module)
    sam = Recording(module, device, dtype, skip_padding=skip_padding, name=model)
    sam.clear()
    return sam, weights


def measure(
    sam: Recording, config: vos.RunConfig, num_objects: int, num_frames: int, num_rounds: int
) -> Row:
    """All figures of one row."""
    clip = ClipConfig(num_frames=num_frames + 1, frame_hw=FRAME_HW, num_objects=num_objects)
    frames, labels = zip(*make_clip(clip), strict=True)
    reference = labels[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "clip").mkdir()
        for frame in frames:
            Image.fromarray(frame.rgb).save(folder / "clip" / f"{frame.name}.jpg", quality=95)

        def run_whole() -> float:
            """Milliseconds per frame after the reference."""
            outputs = Outputs(folder=folder, name="result", overwrite=True)
            with (
                vos.open_source(folder / "clip") as source,
                closing(vos.segment_video(source, reference, sam, config)) as pairs,
                closing(write_results(pairs, outputs, source.info, {})) as results,
            ):
                next(results)
                sam.clear()
                started = clock()
                for _ in results:
                    pass
            return (clock() - started) * 1e3 / num_frames

        run_whole()
        own_peak_mib = peak_mib()
        asked = sam.asked[-len(sam.asked) // num_frames :]
        num_rows = sum(len(args[1].point_labels) for args, _ in sam.asked) / num_frames
        num_encoded = sam.num_encoded / num_frames

        on_cpu = sam.device.type == "cpu"
        plain = PlainSam(sam._sam) if on_cpu else None
        rgb = [frame.rgb for frame in frames]
        features = sam.encode(rgb[:1])[0]
        encoded = Encoded(frames[0], features, features)
        of_published = vos.RunConfig.published().method
        ids = object_ids(reference)
        targets = personalize([(encoded, reference)], ids, sam, of_published)
        rounds: dict[str, list[float]] = {"whole": [], "plain": []}
        objects = [
            PlainObject(embedding.cpu(), weights.cpu())
            for embedding, weights in zip(targets.embeddings, targets.scale_weights, strict=True)
        ]
        few = rgb[1 : 1 + max(1, 4 // num_objects)]
        other = plain_process(sam.name, few, objects, reference, folder)
        with other if on_cpu else contextlib.nullcontext() as run_plain:
            for _ in range(num_rounds):
                rounds["whole"].append(run_whole())
                if run_plain is not None:
                    rounds["plain"].append(run_plain())
        with vos.open_source(folder / "clip") as source:
            stages = time_stages(sam, asked, targets, frames[1], source, folder, num_rounds)
        whole = statistics.median(rounds["whole"])
        row: Row = {
            "whole_ms": round(whole, 1),
            "whole_min_ms": round(min(rounds["whole"]), 1),
            "whole_max_ms": round(max(rounds["whole"]), 1),
            "frames_per_second": round(1e3 / whole, 3),
            "encoded_per_frame": round(num_encoded, 2),
            "decoded_per_frame": round(num_rows, 2),
            **{f"{name}_ms": round(stages[name], 2) for name in STAGES},
        }
        encode = num_encoded * stages["encode"]
        bare = encode + stages["prompts"]
        row |= {"bare_ms": round(bare, 1), "ratio_to_bare": round(whole / bare, 3)}
        row |= {"bare_original_ms": "", "ratio_to_bare_original": ""}
        row |= {"plain_ms": "", "gain_on_plain": ""}
        row |= {"fit_ms": "", "plain_fit_ms": "", "gain_of_fit": "", "fit_difference": ""}
        if plain is not None:
            original = encode + original_prompts(plain, rgb[1], num_objects, num_rounds)
            plain_ms = statistics.median(rounds["plain"])
            row |= {
                "bare_original_ms": round(original, 1),
                "ratio_to_bare_original": round(whole / original, 3),
                "plain_ms": round(plain_ms, 1),
                "gain_on_plain": round(plain_ms / whole, 2),
                **compare_fits(sam, plain, encoded, reference == 1),
            }
        return row | {"peak_mib": own_peak_mib}


@contextmanager
def plain_process(model: str, *run: Any) -> Iterator[Callable[[], float]]:
    """A process with the same weights, which runs the plain way when it is called.

    Args:
        model: Its name.
        run: What :func:`run_plainly` takes after the model.

    Yields:
        A function that gives milliseconds per frame.
    """
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(
        target=serve_plain, args=(theirs, clock, torch.get_num_threads(), model, *run), daemon=True
    )
    process.start()
    theirs.close()

    def run_plain() -> float:
        ours.send(None)
        return float(ours.recv())

    try:
        run_plain()  # loads, and warms up
        yield run_plain
    finally:
        ours.close()
        process.join()


def serve_plain(
    requests: Connection,
    given_clock: Callable[[], float],
    threads: int,
    model: str,
    pictures: list[Any],
    *run: Any,
) -> None:
    """Answer each request with the milliseconds of a frame, until there are no more."""
    global clock
    clock = given_clock
    torch.set_num_threads(threads)
    plain = PlainSam(build(model, "cpu", "float32", skip_padding=False)[0]._sam)
    with contextlib.suppress(EOFError):
        while True:
            requests.recv()
            requests.send(timed(lambda: run_plainly(plain, pictures, *run)) / len(pictures))


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    started = clock()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - started) * 1e3


def time_stages(
    sam: Recording,
    asked: list[tuple[Any, ...]],
    targets: Targets,
    frame: vos.records.Frame,
    source: Any,
    folder: Path,
    num_rounds: int,
) -> dict[str, float]:
    """Median milliseconds per frame of each stage alone, in turns; encoding without resizing."""
    letterbox = sam.letterbox(FRAME_HW)
    features = sam.encode([frame.rgb])[0]
    resized = resize_for_model(frame.rgb, letterbox)
    decoded = SamModel.decode(sam, *asked[-1][0], **asked[-1][1])
    low_res = decoded.low_res_logits[:, 0]
    logits = low_res_to_frame(low_res, letterbox)
    is_there = np.ones(len(logits), dtype=np.bool_)
    ids = targets.object_ids[: len(logits)]
    labels = merge(logits, is_there, ids)
    masks = measure_labels(labels, ids, np.ones(len(ids), dtype=np.float32))
    pictures = iter(source)
    num_shown = 6
    shown = [(vos.records.Frame(n, n / 24, f"{n:05d}", frame.rgb), masks) for n in range(num_shown)]

    def decode_all() -> None:
        for args, kwargs in asked:
            SamModel.decode(sam, *args, **kwargs)

    def locate() -> None:
        peaks_of(frame_similarities(targets.embeddings, features, letterbox))

    def enlarge() -> None:
        for _ in range(3):
            low_res_to_frame(low_res, letterbox)

    def overlay() -> None:
        info = vos.records.SourceInfo("stage", frame.frame_hw)
        path, pieces = folder / "stage.mp4", folder / "pieces"
        for _ in write_overlay(shown, path, pieces=pieces, info=info, style=OverlayStyle()):
            pass

    calls: dict[str, Callable[[], object]] = {
        "read": lambda: next(pictures, None),
        "resize": lambda: resize_for_model(frame.rgb, letterbox),
        # A picture of the model's own size is not resized.
        "encode": lambda: sam.encode([resized]),
        "locate": locate,
        "prompts": decode_all,
        "enlarge": enlarge,
        "merge": lambda: merge(logits, is_there, ids),
        "write": lambda: write_label_png(folder / "stage.png", labels),
        "overlay": overlay,
    }
    figures: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for index in range(num_rounds + 1):
            for name, call in calls.items():
                milliseconds = timed(call)
                if index:
                    figures[name].append(milliseconds)
    figures["overlay"] = [one / num_shown for one in figures["overlay"]]
    return {name: statistics.median(own) for name, own in figures.items()}


def original_prompts(plain: PlainSam, picture: Any, num_objects: int, num_rounds: int) -> float:
    """Milliseconds of a frame's three decoder calls with segment_anything's own decoder."""
    module = plain.module
    with torch.inference_mode():
        features = plain.encode(picture)
        points = torch.rand(num_objects, 2, 2) * plain.side / 2
        boxes = torch.tensor([[20.0, 20.0, 200.0, 200.0]]).repeat(num_objects, 1)
        labels = torch.ones(num_objects, 2, dtype=torch.int64)
        cells = features.shape[2]
        masks = torch.randn(num_objects, 1, 4 * cells, 4 * cells)

        def decode_all() -> None:
            for own in (None, masks, masks):
                sparse, dense = module.prompt_encoder((points, labels), boxes, own)
                module.mask_decoder(
                    image_embeddings=features,
                    image_pe=module.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=True,
                )

        decode_all()
        return statistics.median(timed(decode_all) for _ in range(num_rounds))


def compare_fits(sam: SamModel, plain: PlainSam, encoded: Encoded, mask: np.ndarray) -> Row:
    """Time of one object's scale fit, and how far its weights are from the plain ones.

    A few of the plain steps, each with its decoder call, stand for all 800. The plain weights
    come from all of them, on the logits of one call, which do not depend on the weights.
    """
    features = plain.encode(encoded.frame.rgb)
    few = timed(lambda: plain.personalize(features, mask, PLAIN_FIT_STEPS))
    none = timed(lambda: plain.personalize(features, mask, 0))
    plain_ms = (few - none) / PLAIN_FIT_STEPS * NUM_FIT_STEPS
    asked: list[tuple[Any, ...]] = []
    decode = plain.decode

    def decode_once(*args: Any) -> tuple[torch.Tensor, ...]:
        if not asked:
            asked.append(decode(*args))
        return asked[0]

    plain.decode = decode_once  # type: ignore[method-assign]
    expected = plain.personalize(features, mask, NUM_FIT_STEPS).scale_weights
    plain.decode = decode  # type: ignore[method-assign]
    logits = asked[0][0][None]
    truth = torch.from_numpy(mask)[None]
    fit = vos.config.FitConfig(num_steps=NUM_FIT_STEPS)
    fitted = fit_scale_weights(logits, truth, fit)
    fit_ms = statistics.median(timed(lambda: fit_scale_weights(logits, truth, fit)) for _ in "abc")
    return {
        "fit_ms": round(fit_ms),
        "plain_fit_ms": round(plain_ms),
        "gain_of_fit": round(plain_ms / fit_ms),
        "fit_difference": round(float((fitted[0] - expected).abs().max()), 6),
    }


def card_name(device: torch.device) -> str:
    """The name of a GPU, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def write_table(results: Path) -> None:
    """Put the newest row of each kind into the tables of docs/performance.md.

    Rows with a note are of trials. They and rows of earlier versions stay in the CSV alone.
    """
    kind = ("model", "settings", "objects", "dtype", "device", "cpu", "threads", "clock")
    with results.open(newline="") as file:
        newest = {tuple(row[name] for name in kind): row for row in csv.DictReader(file)}
    rows = sorted(
        (row for row in newest.values() if not row["note"] and row["vos"] == vos.__version__),
        key=lambda row: (row["model"], row["settings"], int(row["objects"])),
    )
    for part, belongs in TABLES.items():
        text = markdown(COLUMNS, [row for row in rows if belongs(row)])
        print(text)
        put_table(DOCUMENT, "pipeline", text, part)


if __name__ == "__main__":
    main()
