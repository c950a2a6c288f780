"""Videos among training pairs become a DAVIS root that vos reads."""

import sys
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

import vos
from vos.masks import read_label_png
from vos.sets.davis import find_davis_sequences

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from unpack_videos import main


def test_videos_become_sequences_and_pictures_do_not(tmp_path):
    rng = np.random.default_rng(0)
    for group, stem in (
        *(("davis16", f"a-b_{number:05d}") for number in (0, 2, 10)),
        ("davis16", "c_00004"),
        ("duts", "picture_00001"),
    ):
        folder = tmp_path / "pairs" / group
        folder.mkdir(parents=True, exist_ok=True)
        rgb = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / f"{stem}.jpg")
        labels = np.zeros((24, 32), dtype=np.uint8)
        labels[4:12, 6:20] = 1
        labels[15:20, 6:20] = 2
        Image.fromarray(labels).save(folder / f"{stem}.png")
    root = tmp_path / "davis"
    result = CliRunner().invoke(main, [str(tmp_path / "pairs"), "--out", str(root)])
    assert result.exit_code == 0, result.output
    sequences = find_davis_sequences(root, year=2016, split="train")
    assert [sequence.name for sequence in sequences] == ["a-b", "c"]
    with vos.open_source(sequences[0].images_dir) as frames:
        assert [frame.name for frame in frames] == ["00000", "00002", "00010"]
    mask = read_label_png(root / "Annotations" / "480p" / "c" / "00004.png")
    assert np.unique(mask).tolist() == [0, 1]
    assert mask[17, 10] == mask[8, 10] == 1
