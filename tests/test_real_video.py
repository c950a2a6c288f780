"""The embedded model on real video."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import vos
from vos.masks import read_label_png


@pytest.fixture(scope="module")
def nano() -> vos.SamModel:
    return vos.load_sam("nano", device="cpu", dtype="float32")


@pytest.mark.parametrize("sequence", ["blackswan", "dog", "car-shadow"])
def test_published_settings_follow_real_objects(shared: Path, nano, sequence):
    """Every frame is tracked, for a jump of six is another task; every sixth one is scored."""
    images = shared / "davis/JPEGImages/480p" / sequence
    annotations = shared / "davis/Annotations/480p" / sequence
    reference = vos.read_mask(annotations / "00000.png")
    overlaps = []
    with vos.open_source(images) as frames:
        results = vos.segment_video(frames, reference, nano, vos.RunConfig.published())
        for frame, masks in islice(results, 6, None, 6):
            truth = read_label_png(annotations / f"{frame.name}.png") > 0
            found = masks.labels > 0
            overlaps.append((truth & found).sum() / max(1, (truth | found).sum()))
    assert np.mean(overlaps) >= 0.80


@pytest.mark.parametrize("batch_size", [2, 5])
def test_batch_size_does_not_change_real_masks(shared: Path, nano, batch_size):
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

    assert np.mean(labels(1) != labels(batch_size)) < 1e-4
