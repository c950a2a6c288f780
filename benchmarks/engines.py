"""The image encoder and the decoder in OpenVINO, against torch: time, size, and J and F.

    python -m venv engines
    engines/bin/pip install -e . openvino nncf
    engines/bin/python benchmarks/engines.py --pictures ../shared/train/shard_0.tar
    engines/bin/python benchmarks/engines.py --davis ../shared/davis --engine openvino-int8

vos has no engine but torch: what OpenVINO gains is in docs/notebook/speed.md, and this measures
whether that has changed. Each engine encodes the same pictures and segments the same synthetic
clip of 854 x 480 px by the default method, a picture or a frame of each in turn, by one thread. An
engine with ``+decoder`` in its name also decodes the clip's frames, by segment_anything's modules:
they are faster there than the order of vos.sam.fast, which was made for torch.

int8 (nncf, post-training, weights and activations) is calibrated on the pictures of a tar, which
must not be those of an evaluation set; without one, on synthetic frames. With ``--davis`` the
splits ``val`` and ``hard`` of a DAVIS 2016 root are scored instead, in a process with one engine.

Processors with less than this one has can be played: ``ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI`` (or
``AVX2_VNNI``, with ``ATEN_CPU_CAPABILITY=avx2``) before the command. Rows are appended to
benchmarks/engines.csv; times are of the processor, with quartiles of the gain on torch-float32.
"""

from __future__ import annotations

import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import nncf
import numpy as np
import openvino
import torch
from davis import run_and_score
from numpy.typing import NDArray
from PIL import Image
from pipeline import build
from rows import append_row, environment, peak_mib
from torch import Tensor, nn

import vos
from vos.sam.fast.decoder import OUTSIDE, mix
from vos.sam.geometry import Letterbox, needed_cells
from vos.sam.model import Decoded, Prompts, SamModel
from vos.synthetic import ClipConfig, make_clip

RESULTS = Path(__file__).with_suffix(".csv")
FRAME_HW = (480, 854)
NUM_WARM = 2
NUM_CALIBRATION = 100
OPENVINO_SETTINGS = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
ENGINES = (
    "torch-float32",
    "torch-bfloat16",
    "openvino-float32",
    "openvino-bfloat16",
    "openvino-int8",
    "openvino-bfloat16+decoder",
)

Encode = Callable[[Tensor], Tensor]


class EngineSam(SamModel):
    """A SamModel whose encoder, and decoder in tracking, may be another engine's."""

    file_mib: float | str = ""
    decoder: Any = None

    def encode_by(self, encode: Encode) -> None:
        self._encode_images = encode

    def images(self, picture: NDArray[np.uint8]) -> Tensor:
        """What the encoder is given for a picture, (1, 3, S, S)."""
        given: list[Tensor] = []

        def keep(images: Tensor) -> Tensor:
            given.append(images.contiguous())
            return images

        encode, self._encode_images = self._encode_images, keep
        self.encode([picture])
        self._encode_images = encode
        return given[0]

    def decode(
        self, features: Tensor, prompts: Prompts, letterbox: Letterbox, **options: Any
    ) -> Decoded:
        classifiers = options.get("classifiers")
        is_of_tracking = classifiers is not None and classifiers.shape[1] == 1
        if self.decoder is None or prompts.low_res_logits is None or not is_of_tracking:
            return super().decode(features, prompts, letterbox, **options)
        with torch.inference_mode():
            given = self._to_model(prompts, letterbox)
            sparse, _ = self._sam.prompt_encoder(
                points=(given.points_xy, given.point_labels), boxes=given.boxes_xyxy, masks=None
            )
            of_objects = zip(sparse, prompts.low_res_logits[:, None], classifiers, strict=True)
            cells = features[None].contiguous().numpy()
            calls = [
                self.decoder([cells, *(each[None].contiguous().numpy() for each in of_object)])
                for of_object in of_objects
            ]
            logits, ious = (
                torch.cat([torch.from_numpy(call[n].copy()) for call in calls]) for n in range(2)
            )
            height, width = needed_cells(letterbox, features.shape[1:])
            logits[:, :, 4 * height :] = OUTSIDE
            logits[..., 4 * width :] = OUTSIDE
            return Decoded(mix(logits[:, :3], ious, options["mixing"]), ious, logits[:, 3:])


class Decoder(nn.Module):
    """segment_anything's decoder of one object with a mask prompt, and one classifier more."""

    def __init__(self, sam: Any) -> None:
        super().__init__()
        self.downscaling = sam.prompt_encoder.mask_downscaling
        self.decoder = sam.mask_decoder
        self.register_buffer("positions", sam.prompt_encoder.get_dense_pe())

    def forward(
        self, features: Tensor, prompts: Tensor, masks: Tensor, classifiers: Tensor
    ) -> tuple[Tensor, Tensor]:
        decoder = self.decoder
        learned = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None]
        tokens, cells = decoder.transformer(
            features + self.downscaling(masks),
            self.positions,
            torch.cat([learned, prompts], dim=1),
        )
        pixels = decoder.output_upscaling(cells.mT.reshape(features.shape))
        by_mask = [decoder.output_hypernetworks_mlps[n](tokens[:, 1 + n]) for n in range(1, 4)]
        rows = torch.cat([torch.stack(by_mask, dim=1), classifiers], dim=1)
        logits = torch.bmm(rows, pixels.flatten(2)).unflatten(2, pixels.shape[2:])
        return logits, decoder.iou_prediction_head(tokens[:, 0])[:, 1:]


@click.command()
@click.option("--model", default="nano", type=click.Choice(["nano", "mobile_sam"]))
@click.option("--engine", "engines", multiple=True, type=click.Choice(ENGINES))
@click.option("--pictures", type=click.Path(path_type=Path), help="A tar of JPEGs, for int8.")
@click.option("--frames", "num_frames", default=24, help="Frames that are timed; 0 for none.")
@click.option("--davis", type=click.Path(path_type=Path), help="DAVIS 2016 root, for J and F.")
@click.option("--processor", default="", help="Its name, for the rows.")
@click.option("--note", default="", help="A word on what these rows are for.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
def main(
    model: str,
    engines: tuple[str, ...],
    pictures: Path | None,
    num_frames: int,
    davis: Path | None,
    processor: str,
    note: str,
    results: Path,
) -> None:
    """Append one row per engine."""
    torch.set_num_threads(1)
    vos.keep_freed_memory()
    names = [name for name in ENGINES if name in (engines or ENGINES)]
    sams = {name: load(model, name, pictures) for name in names}
    common = {**environment(), "model": model, "processor": processor, "note": note}
    if davis is not None:
        for name, sam in sams.items():
            scores = {f"J&F_{split}": j_and_f(sam, davis, split) for split in ("val", "hard")}
            row = {**common, "engine": name, **scores, "peak_mib": peak_mib()}
            append_row(results.with_stem(f"{results.stem}_davis"), row)
        return
    encode_ms, cosines = time_encoders(sams, max(num_frames // 2, 4))
    frames = time_frames(sams, num_frames)
    for name, sam in sams.items():
        gains = [one / other for one, other in zip(frames[names[0]], frames[name], strict=True)]
        q1, median, q3 = np.percentile(gains, (25, 50, 75)).tolist() if gains else (0, 0, 0)
        row = {
            **common,
            "engine": name,
            "encoder_mib": sam.file_mib,
            "encode_ms": round(statistics.median(encode_ms[name]), 1),
            "cells_cosine": round(statistics.mean(cosines[name]), 4),
            "frame_ms": round(statistics.median(frames[name]), 1) if gains else "",
            "gain": round(median, 2),
            "gain_q1": round(q1, 2),
            "gain_q3": round(q3, 2),
        }
        append_row(results, row)


def load(model: str, engine: str, pictures: Path | None) -> EngineSam:
    """The model in an engine; with random weights where there are none."""
    module = build(model, "cpu", "float32", skip_padding=False)[0]._sam
    kind, precision = engine.removesuffix("+decoder").split("-")
    sam = EngineSam(module, "cpu", precision if kind == "torch" else "float32", name=model)
    if kind == "torch":
        return sam
    some = sam.images(np.zeros((*FRAME_HW, 3), np.uint8))
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        path = Path(temporary) / "encoder"
        network = openvino.convert_model(
            module.image_encoder, example_input=some, input=list(some.shape)
        )
        if precision == "int8":
            some_images = [sam.images(rgb).numpy() for rgb in calibration(pictures)]
            network = nncf.quantize(
                network,
                nncf.Dataset(some_images),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(some_images),
            )
        openvino.save_model(network, path.with_suffix(".xml"), compress_to_fp16=False)
        sam.encode_by(openvino_encode(network, precision))
        if engine.endswith("+decoder"):
            sam.decoder = openvino_decoder(sam, module, precision)
        files = path.parent.iterdir()
        sam.file_mib = round(sum(file.stat().st_size for file in files) / 2**20, 1)
    return sam


def openvino_encode(network: Any, precision: str) -> Encode:
    compiled = openvino.compile_model(network, "CPU", openvino_settings(precision))
    return one_by_one(lambda image: compiled([image])[0])


def openvino_decoder(sam: EngineSam, module: Any, precision: str) -> Any:
    side = module.prompt_encoder.mask_input_size[0]
    num_channels = sam.num_pixel_channels
    inputs = (
        torch.zeros(1, 8 * num_channels, side // 4, side // 4),
        torch.zeros(1, 3, 8 * num_channels),
        torch.zeros(1, 1, side, side),
        torch.zeros(1, 1, num_channels),
    )
    exported = torch.export.export(Decoder(module).eval(), inputs, strict=False)
    network = openvino.convert_model(exported)
    return openvino.compile_model(network, "CPU", openvino_settings(precision))


def openvino_settings(precision: str) -> dict[str, Any]:
    # float32 sums, whatever the processor likes better; of int8 the layers that stay are float32.
    hint = {"bfloat16": "bf16"}.get(precision, "f32")
    return {**OPENVINO_SETTINGS, "INFERENCE_PRECISION_HINT": hint}


def one_by_one(encode: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Encode:
    """An encoder of batches from one of single images, (1, 3, S, S)."""
    return lambda images: torch.cat(
        [torch.from_numpy(encode(image.contiguous().numpy()).copy()) for image in images.split(1)]
    )


def calibration(tar: Path | None) -> Iterator[NDArray[np.uint8]]:
    """Pictures of a tar, or synthetic frames."""
    if tar is None:
        for seed in range(NUM_CALIBRATION // 4):
            settings = ClipConfig(num_objects=3, num_frames=4, frame_hw=FRAME_HW, seed=seed)
            yield from (frame.rgb for frame, _ in make_clip(settings))
        return
    with tarfile.open(tar) as archive:
        names = [name for name in archive.getnames() if name.endswith(".jpg")]
        for name in names[:: max(len(names) // NUM_CALIBRATION, 1)][:NUM_CALIBRATION]:
            file = archive.extractfile(name)
            if file is not None:
                yield np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))


def time_encoders(
    sams: dict[str, EngineSam], num_rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of an encoding, and the cells' mean cosine with those of the first engine."""
    settings = ClipConfig(num_objects=3, num_frames=num_rounds + 1, frame_hw=FRAME_HW, seed=99)
    spent: dict[str, list[float]] = {name: [] for name in sams}
    cosines: dict[str, list[float]] = {name: [] for name in sams}
    for number, (frame, _) in enumerate(make_clip(settings)):
        exact: Tensor | None = None
        for name, sam in sams.items():
            started = time.process_time()
            features = sam.encode([frame.rgb])
            if number > 0:
                spent[name].append((time.process_time() - started) * 1e3)
            exact = features if exact is None else exact
            cosines[name].append(torch.cosine_similarity(features, exact, dim=1).mean().item())
    return spent, cosines


def time_frames(sams: dict[str, EngineSam], num_frames: int) -> dict[str, list[float]]:
    """Milliseconds of frames of the default method, from arrays to masks."""
    settings = ClipConfig(num_objects=1, num_frames=NUM_WARM + 8, frame_hw=FRAME_HW)
    frames, labels = zip(*make_clip(settings), strict=True)

    def of_engine(sam: EngineSam) -> Iterator[float]:
        while True:
            source = vos.frames_from_arrays([frame.rgb for frame in frames])
            with closing(vos.segment_video(source, labels[0], sam)) as pairs:
                for number in range(len(frames)):
                    started = time.process_time()
                    next(pairs)
                    if number >= NUM_WARM:
                        yield (time.process_time() - started) * 1e3

    running = {name: of_engine(sam) for name, sam in sams.items()}
    spent: dict[str, list[float]] = {name: [] for name in sams}
    for _ in range(num_frames):
        for name, each in running.items():
            spent[name].append(next(each))
    return spent


def j_and_f(sam: EngineSam, root: Path, split: str) -> float:
    scores, _, _ = run_and_score(root, 2016, split, sam, vos.RunConfig())
    return round(scores.statistics.measures()["J&F-Mean"], 4)


if __name__ == "__main__":
    main()
