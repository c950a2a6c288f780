"""Write the videos among training pairs as a DAVIS 2016 root.

    python tools/unpack_videos.py ../shared/train/*.tar --out FOLDER
    python benchmarks/davis.py FOLDER --year 2016 --split train

Settings can so be compared on videos that are not what vos is measured by. The embedded model has
seen their frames as pictures, so that its masks are better there than elsewhere, with any prior.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from nano_training.pairs import read_pairs

from vos.masks import write_label_png


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
def main(sources: tuple[Path, ...], out: Path) -> None:
    """Write frames, masks and the list of sequences ``train``."""
    names = []
    for (_, name), frames in sorted(read_pairs(sources).videos.items()):
        images, masks = (out / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number, pair in sorted(frames.items()):
            _, labels = pair.decode()
            (images / f"{number:05d}.jpg").write_bytes(pair.image_file)
            write_label_png(masks / f"{number:05d}.png", (labels > 0).astype(np.uint8))
        names.append(name)
        print(f"{name}: {len(frames)} frames")
    split = out / "ImageSets" / "2016" / "train.txt"
    split.parent.mkdir(parents=True)
    split.write_text("".join(f"{name}\n" for name in names))


if __name__ == "__main__":
    main()
