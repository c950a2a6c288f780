"""Draw the pictures of docs/tracking.md: the published prior above, the default below.

    python tools/draw_tracking_docs.py docs/                                     # drawn scenes
    python tools/draw_tracking_docs.py FOLDER --davis ../shared/davis --clips ../shared/clips \\
        --moseg ../shared/moseg

The drawn scenes, ``tracking_synthetic.png``, are vos' own. All other pictures show frames of data
sets with licences of their own, and belong into a folder outside of the repository: occlusions of
DAVIS sequences, of which a table is printed, a clip from its first to its last frame, and the
frames of --moseg that fit their annotation least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import torch
import tracking_scenes as scenes
from numpy.typing import NDArray
from occlusions import Occlusion, find_occlusions, frames_until_found
from PIL import Image

import vos
from vos.masks import mask_box_xyxy, match_frame, read_mask
from vos.records import Frame, Labels
from vos.sets.davis import DavisSequence, find_davis_sequences
from vos.sink import draw_overlay

PRIORS = {"published": vos.RunConfig.published(), "default": vos.RunConfig()}
OCCLUDED = ("libby", "bmx-trees")
FAILING = ("marple12", "cars1")
NUM_SHOWN = 6  # of an occlusion
NUM_WORST = 4
NUM_OF_CLIP = 10
MARGIN_SHARE = 0.5  # around what a picture is about, of its size
SCENE_MARGIN_SHARE = 0.15
WIDTH_PX = 1280
SCENES_WIDTH_PX = 1000
MAX_BYTES = 400_000
ALPHA = 0.45
FONT = cv2.FONT_HERSHEY_SIMPLEX

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A sequence, its annotations, and what each prior makes of it.

    Attributes:
        pictures: The frames' files.
        truth: Annotations by index of their frame.
        labels: By prior, the label map of every frame.
    """

    pictures: list[Path]
    truth: dict[int, Labels]
    labels: dict[str, list[Labels]]

    def iou(self, prior: str, index: int) -> float:
        """Mean IoU of the objects in a frame."""
        return mean_iou(self.labels[prior][index], self.truth[index], np.unique(self.truth[0])[1:])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--davis", type=click.Path(path_type=Path), help="DAVIS 2016 root.")
@click.option("--clips", type=click.Path(path_type=Path), help="Holds juggle.mp4 and its mask.")
@click.option("--moseg", type=click.Path(path_type=Path), help="A root in the layout of 2017.")
@click.option("--frames", "num_frames", type=int, help="A trial on the first ones of each video.")
@click.option("--threads", type=int)
def main(
    folder: Path,
    davis: Path | None,
    clips: Path | None,
    moseg: Path | None,
    num_frames: int | None,
    threads: int | None,
) -> None:
    """Write the pictures into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    if threads is not None:
        torch.set_num_threads(threads)
    sam = vos.load_sam("nano", device="cpu", dtype="float32")
    draw_scenes(folder / "tracking_synthetic.png", sam)
    for sequence in sequences_of(davis, 2016, OCCLUDED):
        draw_occlusions(folder, sequence, sam, num_frames)
    for sequence in sequences_of(moseg, 2017, FAILING):
        draw_worst(folder / f"fails_{sequence.name}.jpg", sequence, sam, num_frames)
    if clips is not None:
        draw_clip(folder / "juggle.jpg", clips / "juggle.mp4", sam, num_frames)


def draw_scenes(path: Path, sam: vos.SamModel) -> None:
    """A look-alike, an occlusion, and a crossing of two objects of one colour."""
    rows = []
    for clip, shown in (
        (scenes.passed_closely(zoom=2), (0, 3, 5, 8, 11)),
        (scenes.behind_a_wall(10, has_bystander=True, zoom=2), (0, 3, 8, 15, 20)),
        (scenes.crossing(scenes.RED, zoom=2), (0, 6, 8, 12, 19)),
    ):
        frames, truth = zip(*clip, strict=True)
        window = window_of(truth, SCENE_MARGIN_SHARE)
        for prior, config in PRIORS.items():
            labels = track(frames, truth[0], sam, config)
            ids = np.unique(truth[0])[1:]
            captions = [
                f"{prior}, {index}: IoU {mean_iou(labels[index], truth[index], ids):.2f}"
                for index in shown
            ]
            pictures = [draw_overlay(frames[i].rgb, labels[i], ALPHA)[window] for i in shown]
            rows.append((pictures, captions))
    save(path, grid(rows, SCENES_WIDTH_PX))


def draw_occlusions(
    folder: Path, sequence: DavisSequence, sam: vos.SamModel, num_frames: int | None
) -> None:
    """A picture for each occlusion of a sequence, and a line of how soon the object is found."""
    case = case_of(sequence, sam, num_frames)
    areas_px = np.array([np.count_nonzero(case.truth[i]) for i in range(len(case.truth))])
    for number, occlusion in enumerate(find_occlusions(areas_px)):
        print(
            f"{sequence.name}: hidden from frame {occlusion.first_hidden}, least visible in "
            f"{occlusion.least_visible}, visible from {occlusion.first_visible}"
        )
        for prior in PRIORS:
            ious = np.array([case.iou(prior, index) for index in range(len(areas_px))])
            after = frames_until_found(ious, occlusion)
            least = ious[occlusion.first_hidden : occlusion.first_visible].min()
            print(
                f"  {prior}: IoU {ious[occlusion.first_hidden - 1]:.2f} before, at least "
                f"{least:.2f} while hidden, {ious[occlusion.first_visible]:.2f} when visible; "
                + ("never found" if after is None else f"0.5 or more after {after} frames")
            )
        shown = frames_around(occlusion, len(areas_px))
        window = window_of([case.truth[index] for index in shown])
        path = folder / f"occlusion_{sequence.name}_{number}.jpg"
        save(path, grid(rows_of(case, shown, window), WIDTH_PX))


def draw_worst(
    path: Path, sequence: DavisSequence, sam: vos.SamModel, num_frames: int | None
) -> None:
    """The frames that the default segments worst."""
    case = case_of(sequence, sam, num_frames)
    scored = sorted(index for index in case.truth if index)
    for index in scored:
        print(f"{sequence.name}, frame {index}: IoU {case.iou('default', index):.2f}")
    worst = sorted(sorted(scored, key=lambda index: case.iou("default", index))[:NUM_WORST])
    if worst:
        everything = (slice(None), slice(None))
        save(path, grid(rows_of(case, worst, everything), WIDTH_PX))


def draw_clip(path: Path, video: Path, sam: vos.SamModel, num_frames: int | None) -> None:
    """Ten frames of a clip, spread from its first to its last one, with the default prior."""
    with vos.open_source(video) as source:
        total = sum(1 for _ in source)
    total = min(total, num_frames or total)
    shown = np.linspace(0, total - 1, NUM_OF_CLIP).round().astype(int).tolist()
    pictures = []
    with vos.open_source(video, end=total) as source:
        reference = read_mask(video.with_name(f"{video.stem}_mask.png"))
        reference = match_frame(reference, source.info.frame_hw)
        for place, (frame, masks) in enumerate(vos.segment_video(source, reference, sam)):
            if place in shown:
                pictures.append(draw_overlay(frame.rgb, masks.labels, ALPHA))
    captions = [f"frame {index}" for index in sorted(set(shown))]
    half = -(-len(pictures) // 2)
    rows = [(pictures[:half], captions[:half]), (pictures[half:], captions[half:])]
    save(path, grid(rows, WIDTH_PX))


def sequences_of(root: Path | None, year: int, names: Sequence[str]) -> list[DavisSequence]:
    """Give the sequences of these names, none without a root."""
    if root is None:
        return []
    found = {each.name: each for each in find_davis_sequences(root, year=year)}
    return [found[name] for name in names]


def case_of(sequence: DavisSequence, sam: vos.SamModel, num_frames: int | None) -> Case:
    """Let both priors follow a sequence."""
    pictures = sorted(sequence.images_dir.iterdir())[sequence.first_index :][:num_frames]
    truth = {}
    for index, picture in enumerate(pictures):
        path = sequence.reference.with_name(f"{picture.stem}.png")
        if path.exists():
            mask = read_mask(path)
            truth[index] = (mask > 0).astype(np.uint8) if sequence.join_objects else mask
    labels = {}
    for prior, config in PRIORS.items():
        end = sequence.first_index + len(pictures)
        with vos.open_source(sequence.images_dir, start=sequence.first_index, end=end) as source:
            labels[prior] = track(source, truth[0], sam, config)
    return Case(pictures, truth, labels)


def track(
    frames: Iterable[Frame], reference: Labels, sam: vos.SamModel, config: vos.RunConfig
) -> list[Labels]:
    """Give the label map of every frame."""
    return [masks.labels for _, masks in vos.segment_video(frames, reference, sam, config)]


def mean_iou(ours: Labels, truth: Labels, object_ids: Iterable[int]) -> float:
    """Mean IoU of some objects; of two empty masks 1."""
    ious = []
    for object_id in object_ids:
        own, true = ours == object_id, truth == object_id
        union = np.count_nonzero(own | true)
        ious.append(np.count_nonzero(own & true) / union if union else 1.0)
    return float(np.mean(ious))


def frames_around(occlusion: Occlusion, num_frames: int) -> list[int]:
    """Give frames from before an occlusion until after it, spread evenly."""
    length = occlusion.first_visible - occlusion.first_hidden
    before = max(0, occlusion.first_hidden - 2)
    after = min(num_frames - 1, occlusion.first_visible + max(4, length))
    spread = np.linspace(before, after, NUM_SHOWN).round().astype(int)
    return sorted({*spread.tolist()})


def window_of(masks: Sequence[Labels], margin_share: float = MARGIN_SHARE) -> tuple[slice, slice]:
    """Give the part of the frame around what some masks show."""
    box_xyxy = mask_box_xyxy(np.max(masks, axis=0) > 0)
    if box_xyxy is None:
        return slice(None), slice(None)
    x0, y0, x1, y1 = box_xyxy.tolist()
    margin_px = round(margin_share * max(x1 - x0, y1 - y0))
    return (
        slice(max(0, y0 - margin_px), y1 + margin_px),
        slice(max(0, x0 - margin_px), x1 + margin_px),
    )


def rows_of(
    case: Case, shown: Sequence[int], window: tuple[slice, slice]
) -> list[tuple[list[Rgb], list[str]]]:
    """A row for each prior, of the same frames."""
    rows = []
    for prior in PRIORS:
        pictures, captions = [], []
        for index in shown:
            rgb = np.asarray(Image.open(case.pictures[index]).convert("RGB"))
            picture = draw_overlay(rgb, case.labels[prior][index], ALPHA)
            pictures.append(picture[window])
            captions.append(f"{prior}, {index}: IoU {case.iou(prior, index):.2f}")
        rows.append((pictures, captions))
    return rows


def grid(rows: Sequence[tuple[list[Rgb], list[str]]], width_px: int) -> Rgb:
    """Put rows of pictures with captions together; a shorter row ends in white."""
    num_columns = max(len(pictures) for pictures, _ in rows)
    tile_px = width_px // num_columns
    lines = []
    for pictures, captions in rows:
        tiles = [captioned(*pair, tile_px) for pair in zip(pictures, captions, strict=True)]
        tiles += [np.full_like(tiles[0], 255)] * (num_columns - len(tiles))
        lines.append(np.concatenate(tiles, axis=1))
    return np.concatenate(lines)


def captioned(picture: Rgb, caption: str, width_px: int) -> Rgb:
    """Scale a picture to a width, and write on it."""
    height_px = round(picture.shape[0] * width_px / picture.shape[1])
    scaled = Image.fromarray(picture).resize((width_px, height_px), Image.Resampling.LANCZOS)
    tile = np.array(scaled)
    # Shifted copies, because not every version of OpenCV draws thick lines around its fonts.
    around = [((x, y), 0) for x in (3, 5) for y in (11, 13)]
    for place, grey in (*around, ((4, 12), 255)):
        cv2.putText(tile, caption, place, FONT, 0.4, (grey, grey, grey), 1, cv2.LINE_AA)
    return tile


def save(path: Path, picture: Rgb) -> None:
    """Save a picture; a JPEG that would be too large more coarsely."""
    image = Image.fromarray(picture)
    if path.suffix == ".png":
        image.quantize(128).save(path, optimize=True)
    else:
        for quality in (80, 65, 50):
            image.save(path, quality=quality)
            if path.stat().st_size <= MAX_BYTES:
                break
    print(f"{path}: {image.width} x {image.height} px, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
