"""Cutie behind three calls: frames to features, references to a group, features to masks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import resources
from typing import Any, Final

import numpy as np
import torch
from torch.nn import Identity, Module

from vos.config import Cutie
from vos.errors import MissingPackageError
from vos.records import Frame, Labels
from vos.track.cutie.memory import CutieGroup, CutieObject
from vos.track.groups import Found

_OBJECTS_PER_CALL: Final = 16


def build_cutie(architecture: Any = None) -> Module:
    """Build the network of the size ``base``, with random weights.

    Args:
        architecture: What differs from ``base``, as the package's own settings have it.

    Raises:
        MissingPackageError: rf-cutie is not installed.
    """
    try:
        from cutie.model import big_modules
        from cutie.model.cutie import CUTIE
        from omegaconf import OmegaConf
    except ImportError as error:
        raise MissingPackageError(
            f"the method cutie needs the package rf-cutie ({error.name} is not installed): "
            "pip install 'vos-persam[cutie]'"
        ) from error
    settings = _package_settings()
    if architecture is not None:
        settings.model = OmegaConf.merge(settings.model, architecture)
    with _no_downloads(big_modules):
        network: Module = CUTIE(settings)
    network.aux_computer = Identity()  # only training uses it
    return network.eval().requires_grad_(False)


def _package_settings() -> Any:
    """Read the package's settings for evaluation, which its authors load by a tool of theirs."""
    from omegaconf import OmegaConf

    folder = resources.files("cutie") / "config"
    settings = OmegaConf.create((folder / "eval_config.yaml").read_text(encoding="utf-8"))
    settings.model = OmegaConf.create((folder / "model" / "base.yaml").read_text(encoding="utf-8"))
    settings.use_long_term = False
    settings.chunk_size = _OBJECTS_PER_CALL
    return settings


@contextmanager
def _no_downloads(big_modules: Any) -> Iterator[None]:
    """Keep the constructor from downloading weights of ResNets, which Cutie's own replace."""
    resnet = big_modules.resnet

    class Plain:
        resnet18 = staticmethod(partial(_without_weights, resnet.resnet18))
        resnet50 = staticmethod(partial(_without_weights, resnet.resnet50))

    big_modules.resnet = Plain
    try:
        yield
    finally:
        big_modules.resnet = resnet


def _without_weights(build: Any, pretrained: bool = True, **sizes: Any) -> Module:
    module: Module = build(pretrained=False, **sizes)
    return module


class CutieFeatures:
    """What Cutie sees of one frame: stands where the package has its store of features.

    They are computed when they are first needed, of the frame as the package has reduced it.
    """

    def __init__(self, network: Any, frame: Frame, device: torch.device) -> None:
        rgb = np.ascontiguousarray(frame.rgb.transpose(2, 0, 1))
        self.image = torch.from_numpy(rgb).to(device).float().div(255)
        self._network = network
        self._features: tuple[Any, ...] | None = None

    def get_features(self, index: int, image: torch.Tensor) -> tuple[Any, ...]:
        """Give the features of several scales, and those that are compared."""
        return self._all(image)[:2]

    def get_key(self, index: int, image: torch.Tensor) -> tuple[Any, ...]:
        """Give keys, shrinkages and selections."""
        return self._all(image)[2:]

    def delete(self, index: int) -> None:
        """Keep them, for other groups see the same frame."""

    def _all(self, image: torch.Tensor) -> tuple[Any, ...]:
        if self._features is None:
            scales, pixels = self._network.encode_image(image)
            self._features = (scales, pixels, *self._network.transform_key(scales[0]))
        return self._features


class CutieNetwork:
    """Cutie on one device.

    Args:
        network: From :func:`build_cutie`, with its weights.
        device: Where it computes.
        weights_sha256: Hash of its weights file, where it is known.
    """

    name: str = "cutie"
    dtype: str = "float32"
    package: str = "rf-cutie"

    def __init__(
        self, network: Module, device: torch.device, weights_sha256: str | None = None
    ) -> None:
        self.device, self.weights_sha256 = device, weights_sha256
        self._network: Any = network.to(device)
        self._settings: dict[Cutie, Any] = {}

    def encode(self, frame: Frame, config: Cutie) -> CutieFeatures:
        """Give the features of a frame."""
        return CutieFeatures(self._network, frame, self.device)

    @torch.inference_mode()
    def begin(
        self,
        shown: Sequence[tuple[CutieFeatures, Labels]],
        object_ids: tuple[int, ...],
        num_frames_lost: int,
        config: Cutie,
    ) -> CutieGroup:
        """Give a group after its references, as :class:`vos.track.groups.Network` says."""
        with _deprecations_ignored():
            core = self._core(config, shown[0][0])
            for features, labels in shown:
                core.image_feature_store = features
                core.memory.clear_sensory_memory()
                mask = torch.from_numpy(labels.astype(np.int64)).to(self.device)
                core.step(features.image, mask, objects=[*object_ids], force_permanent=True)
        if num_frames_lost:
            core.last_mask = torch.zeros_like(core.last_mask)
            sensory = core.memory.sensory
            core.memory.sensory = {key: torch.zeros_like(each) for key, each in sensory.items()}
        return _read(core)

    @torch.inference_mode()
    def follow(
        self, features: CutieFeatures, group: CutieGroup, config: Cutie
    ) -> tuple[CutieGroup, Iterator[Found]]:
        """Give a group after a frame, and its objects there.

        An object's logits are by how much its probability exceeds the background's; its score is
        the mean probability of the pixels where it does.
        """
        with _deprecations_ignored():
            core = self._core(config, features)
            _restore(core, group)
            probabilities = core.step(features.image)
        found = []
        for object_id, probability in zip(group.object_ids, probabilities[1:], strict=True):
            logits = probability - probabilities[0]
            claimed = probability[logits > 0]
            score = float(claimed.mean()) if len(claimed) else 0.0
            found.append(Found(object_id, logits, min(score, 1.0)))
        return _read(core), iter(found)

    def _core(self, config: Cutie, features: CutieFeatures) -> Any:
        from cutie.inference.inference_core import InferenceCore

        if config not in self._settings:
            settings = self._network.cfg.copy()
            settings.max_internal_size = config.shorter_side_px
            settings.mem_every = config.memory_every
            settings.max_mem_frames = 1 + config.num_recent  # the package counts a reference too
            self._settings[config] = settings
        return InferenceCore(self._network, self._settings[config], image_feature_store=features)


def _read(core: Any) -> CutieGroup:
    """Read what a core of the package remembers; all its objects share the keys."""
    memory, cells = core.memory, core.memory.work_mem
    (bucket,) = cells.buckets
    ids = core.object_manager.all_obj_ids
    return CutieGroup(
        object_ids=tuple(ids),
        objects=tuple(
            CutieObject(cells.v[each], memory.obj_v[each], memory.sensory[each]) for each in ids
        ),
        keys=cells.k[bucket],
        shrinkages=cells.s[bucket],
        num_permanent=cells.perm_end_pt[bucket],
        last_masks=core.last_mask,
        num_frames_since=core.curr_ti - core.last_mem_ti,
    )


def _restore(core: Any, group: CutieGroup) -> None:
    """Let a fresh core of the package remember a group."""
    core.curr_ti, core.last_mem_ti = group.num_frames_since, 0
    core.last_mask = group.last_masks
    core.object_manager.add_new_objects([*group.object_ids])
    memory, cells = core.memory, core.memory.work_mem
    memory.engaged = True
    memory.CV = group.objects[0].values.shape[1]
    memory.top_k = min(memory.top_k, group.keys.shape[-1])  # small pictures have few cells
    cells.buckets, cells.global_bucket_id = {0: [*group.object_ids]}, 1
    cells.k, cells.s = {0: group.keys}, {0: group.shrinkages}
    cells.perm_end_pt[0] = group.num_permanent
    for object_id, each in zip(group.object_ids, group.objects, strict=True):
        cells.v[object_id] = each.values
        memory.obj_v[object_id] = each.summaries.clone()  # the package adds to it in place
        memory.sensory[object_id] = each.sensory


@contextmanager
def _deprecations_ignored() -> Iterator[None]:
    """The package calls torch by names that are to go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
