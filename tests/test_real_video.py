"""The embedded model on real video."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import vos
from vos.masks import read_label_png


@pytest.mark.parametrize("sequence", ["blackswan", "dog", "car-shadow"])
def test_published_settings_follow_real_objects(shared: Path, nano, sequence):
    """From the first frame to the last, in steps of three; every ninth frame is scored."""
    images = shared / "davis/JPEGImages/480p" / sequence
    annotations = shared / "davis/Annotations/480p" / sequence
    reference = vos.read_mask(annotations / "00000.png")
    overlaps = []
    with vos.open_source(images, every=3) as frames:
        results = vos.segment_video(frames, reference, nano, vos.RunConfig.published())
        for frame, masks in islice(results, 3, None, 3):
            truth = read_label_png(annotations / f"{frame.name}.png") > 0
            found = masks.labels > 0
            overlaps.append((truth & found).sum() / max(1, (truth | found).sum()))
    assert np.mean(overlaps) >= 0.80


def test_batch_size_does_not_change_real_masks(shared: Path, nano):
    """Kernels may round differently by batch shape; fewer than 1 pixel in 10,000 may differ."""
    images = shared / "davis/JPEGImages/480p/dog"
    reference = vos.read_mask(shared / "davis/Annotations/480p/dog/00000.png")

    def labels(size: int) -> np.ndarray:
        config = vos.RunConfig(
            method=vos.PersamF(batch_size=size, fit=vos.FitConfig(num_steps=100))
        )
        with vos.open_source(images, end=6) as frames:
            results = vos.segment_video(frames, reference, nano, config)
            return np.stack([masks.labels for _, masks in results])

    one_by_one = labels(1)
    for batch_size in (2, 5):
        assert np.mean(one_by_one != labels(batch_size)) < 1e-4
