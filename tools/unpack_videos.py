"""Write the videos among training pairs as a DAVIS 2016 root.

    python tools/unpack_videos.py ../shared/train/*.tar --out FOLDER
    python benchmarks/davis.py FOLDER --year 2016 --split train

Settings can so be compared on videos that are not what vos is measured by. The embedded model has
seen most of their frames as pictures, so that its masks are better there than elsewhere, with any
prior; those of the split ``held_out`` only if it was trained with another ``--hold-out``.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from nano_training.pairs import PairSet, hold_out, read_pairs

from vos.masks import write_label_png


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--hold-out", "num_held_out", type=click.IntRange(min=0), default=6, show_default=True
)
def main(sources: tuple[Path, ...], out: Path, num_held_out: int) -> None:
    """Write frames, masks and the lists of sequences ``train`` and ``held_out``."""
    pairs = read_pairs(sources)
    write_videos(pairs, out, "train")
    write_split(hold_out(pairs, num_held_out)[1], out, "held_out")


def write_videos(pairs: PairSet, out: Path, split: str) -> None:
    """Write the videos' frames and masks, and their names as a split."""
    for (_, name), frames in sorted(pairs.videos.items()):
        images, masks = (out / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number, pair in sorted(frames.items()):
            _, labels = pair.decode()
            (images / f"{number:05d}.jpg").write_bytes(pair.image_file)
            write_label_png(masks / f"{number:05d}.png", (labels > 0).astype(np.uint8))
        print(f"{name}: {len(frames)} frames")
    write_split(pairs, out, split)


def write_split(pairs: PairSet, out: Path, split: str) -> None:
    """Write the names of the videos."""
    names = [name for _, name in sorted(pairs.videos)]
    path = out / "ImageSets" / "2016" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


if __name__ == "__main__":
    main()
