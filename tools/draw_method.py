"""Draw the pictures of docs/how_it_works.md from the tensors of the embedded model.

    python tools/draw_method.py docs/method/

The clip is drawn by vos, so the pictures may be shared freely. The maps and masks are what the
functions of ``vos.track`` return on it; nothing is retouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import click
import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import vos
from vos.config import Memory, PersamF
from vos.masks.boxes import box_centres_xy, grow_box_xyxy
from vos.records import Frame
from vos.sam.geometry import low_res_to_frame
from vos.sam.model import POSITIVE, Prompts
from vos.sink import draw_overlay
from vos.synthetic import ClipConfig, make_clip
from vos.track.memory import follow as memory_follow
from vos.track.memory.crops import Crop
from vos.track.published.encode import Encoded, encode
from vos.track.published.locate import frame_similarities, peaks_of
from vos.track.published.personalize import personalize
from vos.track.published.refine import cascade

CLIP = ClipConfig(frame_hw=(270, 480), seed=4, num_objects=3, num_distractors=1)
FOLLOWED_ID = 2
SHOWN_FRAME = 12
MAX_LOGIT = 8.0
PANEL_WIDTH_PX = 320
NUM_COLUMNS = 2
CAPTION_HEIGHT_PX = 26
FONT = ImageFont.load_default(15)

Rgb = np.ndarray


@dataclass
class Recorder:
    """Keeps what a function returned and got, and returns it."""

    calls: list[tuple[tuple[Any, ...], Any]] = field(default_factory=list)

    def around(self, function: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            self.calls.append((args, result))
            return result

        return called


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@torch.inference_mode()
def main(folder: Path) -> None:
    """Write location.png, fit.png, cascade.png and memory.png into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    sam = vos.load_sam("nano", dtype="float32", device="cpu")
    pairs = list(islice(make_clip(CLIP), SHOWN_FRAME + 1))
    frames = [frame for frame, _ in pairs]
    reference = np.where(pairs[0][1] == FOLLOWED_ID, FOLLOWED_ID, 0).astype(np.uint8)
    draw_published(folder, frames, reference, sam)
    draw_memory(folder, frames, reference, sam)


def draw_published(
    folder: Path, frames: Sequence[Frame], reference: np.ndarray, sam: vos.SamModel
) -> None:
    """Sections 3.1 to 3.3 of the paper, on two frames of the clip."""
    config = vos.RunConfig.published().method
    assert isinstance(config, PersamF)
    first, later = encode([frames[0], frames[SHOWN_FRAME]], sam, 1)
    targets = personalize([(first, reference)], (FOLLOWED_ID,), sam, config)
    letterbox = sam.letterbox(later.frame.frame_hw)

    maps = frame_similarities(targets.embeddings, later.features, letterbox)
    peaks = peaks_of(maps)
    own_maps = frame_similarities(targets.embeddings, first.features, letterbox)
    own_peaks = peaks_of(own_maps)
    save(
        folder / "location.png",
        [
            (painted(first, reference > 0), "frame 0, the reference and its mask"),
            (
                marked(heat(own_maps[0], -0.2, 1.0), own_peaks.points_xy),
                f"similarity; peak {own_peaks.similarities[0]:.2f}",
            ),
            (later.frame.rgb, f"frame {SHOWN_FRAME}"),
            (
                marked(heat(maps[0], -0.2, 1.0), peaks.points_xy),
                f"similarity; peak {peaks.similarities[0]:.2f}",
            ),
        ],
    )

    prompts = fit_prompts(reference, first, targets, sam, config)
    of_three = sam.decode(first.features, prompts, sam.letterbox(first.frame.frame_hw))
    three = low_res_to_frame(of_three.low_res_logits[0], sam.letterbox(first.frame.frame_hw))
    weights = targets.scale_weights[0]
    mixed = torch.einsum("m,mhw->hw", weights, three)
    save(
        folder / "fit.png",
        [
            *(
                (painted(first, (mask > 0).numpy()), f"mask {number} of SAM, weight {weight:.2f}")
                for number, (mask, weight) in enumerate(zip(three, weights, strict=True), 1)
            ),
            (painted(first, (mixed > 0).numpy()), "their weighted sum"),
        ],
    )

    previous = np.array([box_before(frames, reference, sam)])
    box_xyxy = grow_box_xyxy(previous, config.box_margin_px, letterbox.frame_hw, beyond_px=1)
    points_xy = np.concatenate([peaks.points_xy[:, None], box_centres_xy(box_xyxy)[:, None]], 1)
    labels = np.full(points_xy.shape[:2], POSITIVE)
    mixing = targets.scale_weights
    decoded = sam.decode(
        later.features, Prompts(points_xy, labels, box_xyxy), letterbox, mixing=mixing
    )
    ious = torch.einsum("km,km->k", mixing, decoded.predicted_ious)
    low_res = decoded.low_res_logits[:, 0]
    passes = [low_res_to_frame(low_res, letterbox)[0]]
    passes += [
        cascade(later, points_xy, low_res, ious, sam, passes_with_box=(True,) * n).logits[0]
        for n in (1, 2)
    ]
    save(
        folder / "cascade.png",
        [
            (
                boxed(marked(later.frame.rgb, points_xy[0]), box_xyxy[0]),
                "prompts: peak, last box, its centre",
            ),
            *(
                (heat(logits, -MAX_LOGIT, MAX_LOGIT), f"logits after call {number}")
                for number, logits in enumerate(passes, 1)
            ),
        ],
    )


def fit_prompts(
    reference: np.ndarray, first: Encoded, targets: Any, sam: vos.SamModel, config: PersamF
) -> Prompts:
    """The prompts that the two weights are fitted with."""
    letterbox = sam.letterbox(first.frame.frame_hw)
    peaks = peaks_of(frame_similarities(targets.embeddings, first.features, letterbox))
    points_xy, boxes_xyxy = peaks.points_xy[:, None], None
    if config.fit.box_prompt:
        boxes_xyxy = grow_box_xyxy(
            box_of(reference > 0)[None], config.box_margin_px, letterbox.frame_hw, beyond_px=1
        )
        points_xy = np.concatenate([points_xy, box_centres_xy(boxes_xyxy)[:, None]], axis=1)
    return Prompts(points_xy, np.full(points_xy.shape[:2], POSITIVE), boxes_xyxy)


def box_before(frames: Sequence[Frame], reference: np.ndarray, sam: vos.SamModel) -> np.ndarray:
    """The object's box in the frame before the one that is drawn, by the published method."""
    results = vos.segment_video(frames[:SHOWN_FRAME], reference, sam, vos.RunConfig.published())
    *_, (_, masks) = results
    return masks.boxes_xyxy[0]


def draw_memory(
    folder: Path, frames: Sequence[Frame], reference: np.ndarray, sam: vos.SamModel
) -> None:
    """What the default method does in one frame."""
    names = ("make_prompts", "decode_crop", "combine")
    seen = {name: Recorder() for name in names}
    patches = [
        mock.patch.object(memory_follow, name, seen[name].around(getattr(memory_follow, name)))
        for name in names
    ]
    for patch in patches:
        patch.start()
    config = vos.RunConfig(method=Memory())
    *_, (_, masks) = vos.segment_video(frames, reference, sam, config)
    for patch in patches:
        patch.stop()
    (crop, probabilities), prompts = seen["make_prompts"].calls[-1]
    (head, own, _), final = seen["combine"].calls[-1]
    whole = boxed(frames[-1].rgb, np.array(crop.window_xyxy) - [0, 0, 1, 1])
    by_memory = low_res_to_frame(
        torch.nn.functional.interpolate(
            probabilities[None, None], size=crop.pixels_hw, mode="bilinear"
        )[0],
        crop.letterbox,
    )[0]
    save(
        folder / "memory.png",
        [
            (whole, "1. a window around the object"),
            (heat(by_memory, 0, 1), "2. correspondence with memory"),
            (
                boxed(marked(crop.rgb, prompts.point_xy[None]), prompts.box_xyxy),
                "3. prompts for SAM",
            ),
            (logits_of(own, crop), "3. SAM's logits"),
            (logits_of(head, crop), "4. the classifier's logits"),
            (logits_of(final, crop), "4. both, and the vote"),
        ],
    )
    print(f"score {masks.scores[0]:.2f}")


def logits_of(low_res: torch.Tensor, crop: Crop) -> Rgb:
    return heat(low_res_to_frame(low_res[None], crop.letterbox)[0], -MAX_LOGIT, MAX_LOGIT)


def box_of(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()])


def heat(values: torch.Tensor, least: float, most: float) -> Rgb:
    """Colours from dark to light; both ends of the range are clipped."""
    scaled = ((values.numpy() - least) / (most - least)).clip(0, 1)
    coloured = cv2.applyColorMap((255 * scaled).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return coloured[..., ::-1].copy()


def painted(encoded: Encoded, mask: np.ndarray) -> Rgb:
    return draw_overlay(encoded.frame.rgb, mask.astype(np.uint8), alpha=0.5)


def marked(rgb: Rgb, points_xy: np.ndarray) -> Rgb:
    """Crosses with a light rim, which show on any ground."""
    picture = rgb.copy()
    for x, y in points_xy.tolist():
        for colour, thickness in ((255, 255, 255), 4), ((200, 30, 30), 2):
            cv2.drawMarker(picture, (x, y), colour, cv2.MARKER_CROSS, 16, thickness)
    return picture


def boxed(rgb: Rgb, box_xyxy: np.ndarray) -> Rgb:
    picture = rgb.copy()
    x0, y0, x1, y1 = box_xyxy.tolist()
    for colour, thickness in ((255, 255, 255), 4), ((200, 30, 30), 2):
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thickness)
    return picture


def save(path: Path, panels: Sequence[tuple[Rgb, str]]) -> None:
    """Save panels in two columns, with a line of text below each."""
    tallest_px = max(round(p.shape[0] * PANEL_WIDTH_PX / p.shape[1]) for p, _ in panels)
    tile_hw = tallest_px + CAPTION_HEIGHT_PX, PANEL_WIDTH_PX + 8
    num_rows = -(-len(panels) // NUM_COLUMNS)
    sheet = Image.new("RGB", (NUM_COLUMNS * tile_hw[1], num_rows * tile_hw[0]), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (panel, caption) in enumerate(panels):
        row, column = divmod(number, NUM_COLUMNS)
        left, top = column * tile_hw[1] + 4, row * tile_hw[0]
        scale = min(PANEL_WIDTH_PX / panel.shape[1], tallest_px / panel.shape[0])
        size = round(panel.shape[1] * scale), round(panel.shape[0] * scale)
        shown = Image.fromarray(panel).resize(size, Image.Resampling.LANCZOS)
        sheet.paste(shown, (left + (PANEL_WIDTH_PX - size[0]) // 2, top + tallest_px - size[1]))
        draw.text((left, top + tallest_px + 3), caption, "black", FONT)
    sheet.quantize(192).save(path, optimize=True)
    print(f"{path}: {sheet.width} x {sheet.height} px, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
