"""The models that have a name: where their weights come from and how to know them."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vos.errors import MissingPackageError, UnknownModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One registered model and its weights file.

    Attributes:
        name: What to call it on the command line.
        file_name: Name of the weights file, in the cache folder or in this package.
        url: Where the file is downloaded from; None for the one inside this package.
        sha256: Hash of the file, lower-case hexadecimal; None where nobody has published it. Such a
            file is known by its size, if that is known, and by the names and shapes of its weights.
        num_bytes: Size of the file, or None likewise.
        licence: Terms of the weights.
        image_size: Side S of the model's square input, model pixels; None where it takes pictures
            of any size.
        description: What it is good for, in a few words.
        accuracy: What its authors measured, and where they say so; empty if they did not.
        builder: Function that builds its network, as ``module:name``: without weights, or where the
            network is of an extra's package, from this name, a state dict and its origin.
        landmark: Name and shape of a weight that tells it from the other models, if there is one.
        extra: The extra of vos that brings the package of its network; None if vos itself does.
        option: What takes a file instead of the registered one, on the command line and in Python.
    """

    name: str
    file_name: str
    url: str | None
    sha256: str | None
    num_bytes: int | None
    licence: str
    image_size: int | None
    description: str
    accuracy: str = ""
    builder: str
    landmark: tuple[str, tuple[int, ...]] | None = None
    extra: str | None = None
    option: str = "--checkpoint FILE (checkpoint= in Python)"

    @property
    def size_text(self) -> str:
        """Size of the file in words, such as ``41 MB`` or ``1.2 GB``."""
        if self.num_bytes is None:
            return "unknown"
        is_large = self.num_bytes >= 10**9
        return f"{self.num_bytes / 1e9:.1f} GB" if is_large else f"{self.num_bytes / 1e6:.0f} MB"


_NETWORKS: Final = "vos.sam.networks"
_SEGMENT_ANYTHING: Final = "https://dl.fbaipublicfiles.com/segment_anything"
_HUB: Final = "https://huggingface.co"
_MODELS_EXTRA: Final = "models"

_SPECS: Final = (
    ModelSpec(
        name="nano",
        file_name="nano.safetensors",
        url=None,
        sha256="2f21cec4c9847c6f87d4753d51857f8f4fe572c13f65b34d543445b71cb4bad6",
        num_bytes=14_958_680,
        licence="Apache-2.0; trained on data that is in part for non-commercial use only",
        image_size=512,
        description="embedded, for a CPU",
        builder=f"{_NETWORKS}.nano:build_nano",
        landmark=("image_encoder.trunk.stem.conv.weight", (32, 3, 3, 3)),
    ),
    ModelSpec(
        name="mobile_sam",
        file_name="mobile_sam.pt",
        url="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        num_bytes=40_728_226,
        licence="Apache-2.0",
        image_size=1024,
        description="SAM with the small image encoder TinyViT",
        builder=f"{_NETWORKS}.tiny_vit:build_mobile_sam",
        landmark=("image_encoder.patch_embed.seq.0.c.weight", (32, 3, 3, 3)),
    ),
    ModelSpec(
        name="vit_b",
        file_name="sam_vit_b_01ec64.pth",
        url=f"{_SEGMENT_ANYTHING}/sam_vit_b_01ec64.pth",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        num_bytes=375_042_383,
        licence="Apache-2.0",
        image_size=1024,
        description="SAM with its base image encoder",
        builder=f"{_NETWORKS}.architectures:build_vit_b",
        landmark=("image_encoder.pos_embed", (1, 64, 64, 768)),
    ),
    ModelSpec(
        name="vit_l",
        file_name="sam_vit_l_0b3195.pth",
        url=f"{_SEGMENT_ANYTHING}/sam_vit_l_0b3195.pth",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        num_bytes=1_249_524_607,
        licence="Apache-2.0",
        image_size=1024,
        description="SAM with its large image encoder",
        builder=f"{_NETWORKS}.architectures:build_vit_l",
        landmark=("image_encoder.pos_embed", (1, 64, 64, 1024)),
    ),
    ModelSpec(
        name="vit_h",
        file_name="sam_vit_h_4b8939.pth",
        url=f"{_SEGMENT_ANYTHING}/sam_vit_h_4b8939.pth",
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        num_bytes=2_564_550_879,
        licence="Apache-2.0",
        image_size=1024,
        description="SAM with its huge image encoder, the most accurate; wants a GPU",
        accuracy="PerSAM-F on DAVIS 2017: J&F 71.9, then 76.1 (arXiv 2305.03048 v1, v2)",
        builder=f"{_NETWORKS}.architectures:build_vit_h",
        landmark=("image_encoder.pos_embed", (1, 64, 64, 1280)),
    ),
)


def _hq_spec(name: str, sha256: str, description: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        file_name=f"{name}.pth",
        url=f"{_HUB}/lkeab/hq-sam/resolve/main/{name}.pth",
        sha256=sha256,
        num_bytes=None,
        licence="Apache-2.0",
        image_size=1024,
        description=description,
        accuracy="in SAM-PT with ViT-H on DAVIS 2017: J&F 1.0 above SAM's (authors of SAM-PT)",
        builder=f"{_NETWORKS}.sam_hq:load_sam_hq",
        extra=_MODELS_EXTRA,
    )


_HQ_SPECS: Final = (
    _hq_spec(
        "sam_hq_vit_b",
        "14a9d662cd6f5a9c2dba6d40ab0058d88d287e4a18fd6fdc6ad5fb1a3fdeaa57",
        "vit_b with the decoder of HQ-SAM, for finer edges",
    ),
    _hq_spec(
        "sam_hq_vit_l",
        "e1a6c385d62bf005ded91a54d5ec55c985cfc4103ef89c08d90f39f04934c343",
        "vit_l with the decoder of HQ-SAM",
    ),
    _hq_spec(
        "sam_hq_vit_h",
        "a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35",
        "vit_h with the decoder of HQ-SAM; wants a GPU",
    ),
)


def _dinov2_spec(
    name: str, revision: str, sha256: str, num_bytes: int, accuracy: str, description: str
) -> ModelSpec:
    return ModelSpec(
        name=name,
        file_name=f"{name}.safetensors",
        url=f"{_HUB}/facebook/{name}/resolve/{revision}/model.safetensors",
        sha256=sha256,
        num_bytes=num_bytes,
        licence="Apache-2.0",
        image_size=None,
        description=description,
        accuracy=f"ImageNet, k-NN and linear: {accuracy} (DINOv2's authors, README)",
        builder=f"{_NETWORKS}.dinov2:load_dinov2",
        extra=_MODELS_EXTRA,
        option="--features-checkpoint FILE (Features(checkpoint=...) in Python)",
    )


_FEATURES_SPECS: Final = (
    _dinov2_spec(
        "dinov2-small",
        "ed25f3a31f01632728cabb09d1542f84ab7b0056",
        "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
        88_249_960,
        "79.0 and 81.1 %",
        "DINOv2 ViT-S/14: features beside SAM's",
    ),
    _dinov2_spec(
        "dinov2-base",
        "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
        "d73036b56966966d07975d696bde331762f37297e2f095de8cea0040c3aa0841",
        346_345_912,
        "82.1 and 84.5 %",
        "DINOv2 ViT-B/14: features beside SAM's",
    ),
    _dinov2_spec(
        "dinov2-large",
        "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
        "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
        1_217_522_888,
        "83.5 and 86.3 %",
        "DINOv2 ViT-L/14: features beside SAM's; wants a GPU",
    ),
)

MODELS: Final[Mapping[str, ModelSpec]] = MappingProxyType(
    {spec.name: spec for spec in (*_SPECS, *_HQ_SPECS)}
)
"""Every registered SAM by name."""

FEATURES: Final[Mapping[str, ModelSpec]] = MappingProxyType(
    {spec.name: spec for spec in _FEATURES_SPECS}
)
"""Every registered model whose features cells can be compared by, from small to large."""


def find_model(name: str) -> ModelSpec:
    """Look a SAM up.

    Raises:
        UnknownModelError: ``name`` is not registered; the message lists the names that are.
    """
    return _find(name, MODELS, "model", name.lower().replace("-", "_"))


def find_features(name: str) -> ModelSpec:
    """Look a model of features up.

    Raises:
        UnknownModelError: ``name`` is not registered; the message lists the names that are.
    """
    return _find(name, FEATURES, "model of features", name.lower().replace("_", "-"))


def check_installed(spec: ModelSpec) -> None:
    """Check that the package of a model's network is there, without importing it.

    Raises:
        MissingPackageError: it is not; the message says how to install it.
    """
    if spec.extra is not None and importlib.util.find_spec("transformers") is None:
        raise MissingPackageError(
            f"{spec.name} needs the package transformers: pip install 'vos-persam[{spec.extra}]'"
        )


def _find(name: str, specs: Mapping[str, ModelSpec], what: str, normal_name: str) -> ModelSpec:
    if name in specs:
        return specs[name]
    message = f"there is no {what} {name!r}; legal are {', '.join(specs)}"
    close = difflib.get_close_matches(normal_name, specs, n=1)
    raise UnknownModelError(f"{message}; did you mean {close[0]}?" if close else message)
