"""Image and label-map pairs on disk: tar shards or folders of ``<group>/<name>.jpg`` + ``.png``.

A label map is 8-bit: 0 is background and every other value one object. Files stay compressed in
memory and are decoded when drawn, so that a whole training set fits.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError

GROUP_SHARES = {
    "duts": 0.34,
    "coco": 0.22,
    "davis16": 0.24,
    "ccp": 0.05,
    "bsds": 0.03,
    "pets": 0.04,
}
"""How often a group is drawn; any other group counts as ``OTHER_SHARE``."""

OTHER_SHARE = 0.1

VIDEO_GROUPS = frozenset({"davis16"})
"""Groups whose names are ``<sequence>_<frame number>``."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A compressed image and its compressed label map."""

    group: str
    name: str
    image_file: bytes
    labels_file: bytes

    def decode(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Give the (H, W, 3) RGB image and the (H, W) label map.

        Raises:
            InputError: A file is no image, or the two differ in size.
        """
        bgr = cv2.imdecode(np.frombuffer(self.image_file, np.uint8), cv2.IMREAD_COLOR)
        labels = cv2.imdecode(np.frombuffer(self.labels_file, np.uint8), cv2.IMREAD_UNCHANGED)
        if bgr is None or labels is None or labels.ndim != 2 or labels.shape != bgr.shape[:2]:
            raise InputError(
                f"{self.group}/{self.name} is not an image with a label map of its size"
            )
        return np.ascontiguousarray(bgr[..., ::-1]), labels.astype(np.uint8, copy=False)


@dataclass(frozen=True)
class PairSet:
    """All pairs, by group, with the videos' frames in order."""

    pairs: tuple[Pair, ...]

    @cached_property
    def by_group(self) -> dict[str, list[Pair]]:
        groups: dict[str, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            groups[pair.group].append(pair)
        return dict(groups)

    @cached_property
    def videos(self) -> dict[tuple[str, str], dict[int, Pair]]:
        """Frames by number, by group and video."""
        sequences: dict[tuple[str, str], dict[int, Pair]] = defaultdict(dict)
        for pair in self.pairs:
            match = re.fullmatch(r"(.+)_(\d+)", pair.name)
            if pair.group in VIDEO_GROUPS and match:
                sequences[pair.group, match[1]][int(match[2])] = pair
        return sequences

    def draw(self, rng: np.random.Generator) -> Pair:
        """Draw a pair: first its group, by ``GROUP_SHARES``."""
        group = self.by_group[str(rng.choice(self._group_names, p=self._group_chances))]
        return group[int(rng.integers(len(group)))]

    @cached_property
    def _group_names(self) -> list[str]:
        return sorted(self.by_group)

    @cached_property
    def _group_chances(self) -> NDArray[np.float64]:
        shares = np.array([GROUP_SHARES.get(name, OTHER_SHARE) for name in self._group_names])
        return shares / shares.sum()

    def number_of(self, pair: Pair) -> int:
        """Give the number of a video's frame."""
        return int(pair.name.rsplit("_", 1)[1])

    def frames_near(self, pair: Pair, max_distance: int) -> list[Pair]:
        """Give the other frames of the pair's video within a distance, the nearest first."""
        match = re.fullmatch(r"(.+)_(\d+)", pair.name)
        if pair.group not in VIDEO_GROUPS or not match:
            return []
        index = int(match[2])
        frames = self.videos[pair.group, match[1]]
        near = [other for other in frames if 0 < abs(other - index) <= max_distance]
        return [frames[other] for other in sorted(near, key=lambda other: abs(other - index))]


def hold_out(pairs: PairSet, num_videos: int) -> tuple[PairSet, PairSet]:
    """Split off the videos that a run never sees, so that its weights can be chosen on them.

    They are those whose names have the smallest SHA-256. Of a part of the data the same videos are
    held out as of all of it, as far as it has them, and others besides.

    Args:
        pairs: Everything.
        num_videos: How many, of each group of videos.

    Returns:
        What is trained on, and the held-out frames.
    """
    held_out = set()
    for group in VIDEO_GROUPS:
        names = [name for own_group, name in pairs.videos if own_group == group]
        ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        held_out |= {(group, name) for name in ranked[:num_videos]}
    files = {id(f) for video in held_out for f in pairs.videos[video].values()}
    return (
        PairSet(tuple(pair for pair in pairs.pairs if id(pair) not in files)),
        PairSet(tuple(pair for pair in pairs.pairs if id(pair) in files)),
    )


def read_pairs(sources: Iterable[Path]) -> PairSet:
    """Read every pair of some tars and folders.

    Raises:
        InputError: A source is neither, is damaged, or holds no pair.
    """
    pairs: list[Pair] = []
    for source in sources:
        if source.is_dir():
            files = dict(_read_folder(source))
        elif source.is_file() and tarfile.is_tarfile(source):
            files = dict(_read_tar(source))
        else:
            raise InputError(f"{source} is neither a tar file nor a folder")
        found = [
            Pair(path.parent.name, path.stem, data, files[path.with_suffix(".png")])
            for path, data in sorted(files.items())
            if path.suffix == ".jpg" and path.with_suffix(".png") in files
        ]
        if not found:
            raise InputError(f"{source} holds no <name>.jpg with a <name>.png beside it")
        pairs += found
    return PairSet(tuple(pairs))


def _read_folder(folder: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for path in folder.rglob("*"):
        if path.suffix in (".jpg", ".png") and path.is_file():
            yield PurePosixPath(path.relative_to(folder).as_posix()), path.read_bytes()


def _read_tar(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield PurePosixPath(member.name), content.read()
