"""The tool that fits the weights of a presence score: its pictures, its figures, what it hears."""

import sys
from pathlib import Path

import numpy as np
from image_sets import draw
from PIL import Image

from vos.track.published import presence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from calibrate_presence import Searched, auc, check_sets, paste, report, search, targets
from calibrate_score import fit

WEIGHTS = np.array([-8.0, -3.0, 4.0])


def searched(num_references: int = 4, num_pictures: int = 4000) -> list[Searched]:
    rng = np.random.default_rng(0)
    evidence = rng.uniform(0, 1, (num_references, num_pictures, 2))
    chances = 1 / (1 + np.exp(-evidence @ WEIGHTS[:-1] - WEIGHTS[-1]))
    is_right = rng.random(chances.shape) < chances
    return [Searched("x", *each) for each in zip(evidence, is_right * 0.9, is_right, strict=True)]


def test_the_fit_finds_the_weights_that_made_the_answers():
    np.testing.assert_allclose(fit(targets(searched())), WEIGHTS, rtol=0.15)


def test_right_weights_have_little_error_and_wrong_ones_do(capsys):
    report("right", searched(), [WEIGHTS] * 4)
    report("wrong", searched(), [-WEIGHTS] * 4)
    right, wrong = capsys.readouterr().out.split("wrong:")
    assert "calibration error 0.0" in right
    assert "calibration error 0.0" not in wrong
    assert right.startswith("right: 16000 pictures")


def test_auc_counts_pairs():
    assert auc(np.array([3.0, 1.0]), np.array([0.0, 2.0])) == 0.75


def test_a_pasted_object_is_where_its_mask_says():
    rgb, labels = draw((120, 160), [(1, 0.5, 0.5, 0.25)])
    ground = np.zeros((60, 200, 3), np.uint8)
    for seed in range(5):
        picture, mask = paste(rgb, labels > 0, ground, np.random.default_rng(seed))
        assert picture.shape == ground.shape
        assert picture[mask].mean(axis=0)[0] > 150
        assert picture[~mask].mean() < 5
        assert not ground.any()


def test_searching_gives_what_spoke_for_each_find(nano):
    rgb, labels = draw((120, 160), [(1, 0.5, 0.5, 0.25)])
    other, _ = draw((96, 96), [(2, 0.5, 0.5, 0.25)], seed=1)
    pictures = [(rgb[:, ::-1].copy(), labels[:, ::-1] > 0), (other, None)]
    found = search("x", (rgb, labels > 0), pictures, nano)
    assert found.evidence.shape == (2, 2)
    assert found.is_there.tolist() == [True, False]
    assert found.is_right.tolist() == [True, False]
    there, absent = (presence.probability(presence.Evidence(*each)) for each in found.evidence)
    assert there > 0.5 > absent


def test_the_check_takes_later_frames_of_each_sequence(tmp_path):
    for name, label in (("a", 1), ("b", 2)):
        for folder in ("JPEGImages", "Annotations"):
            (tmp_path / folder / "480p" / name).mkdir(parents=True)
        for n in range(11):
            rgb, labels = draw((40, 60), [(label, 0.5, 0.5, 0.3)] if n < 10 else [], seed=n)
            Image.fromarray(rgb).save(tmp_path / f"JPEGImages/480p/{name}/{n:05d}.jpg", quality=95)
            mask = np.where(labels > 0, np.uint8(255), np.uint8(0))
            Image.fromarray(mask).save(tmp_path / f"Annotations/480p/{name}/{n:05d}.png")
    sets = {name: (reference, pictures) for name, reference, pictures in check_sets(tmp_path)}
    assert list(sets) == ["a", "b"]
    for (rgb, mask), pictures in sets.values():
        assert rgb[mask].mean() > 3 * rgb[~mask].mean()
        assert [mask is not None for _, mask in pictures] == [True] * 4 + [False] * 3
    (_, of_a), (_, of_b) = sets.values()
    np.testing.assert_array_equal(of_a[5][0], of_b[1][0])
    np.testing.assert_array_equal(of_a[6][0], of_b[4][0])
