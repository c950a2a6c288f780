"""The models that have a name: where their weights come from and how to know them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vos.errors import UnknownModelError


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

_SPECS: Final = (
    ModelSpec(
        name="nano",
        file_name="nano.safetensors",
        url=None,
        sha256="5f51721267f142167254254a87a6ae31202456b416271902ebcfc3b7ff754e9f",
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
        builder=f"{_NETWORKS}.architectures:build_vit_h",
        landmark=("image_encoder.pos_embed", (1, 64, 64, 1280)),
    ),
)

MODELS: Final[Mapping[str, ModelSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""Every registered model by name, from the fastest to the slowest."""


def find_model(name: str) -> ModelSpec:
    """Look a model up.

    Raises:
        UnknownModelError: ``name`` is not registered; the message lists the names that are.
    """
    if name in MODELS:
        return MODELS[name]
    message = f"there is no model {name!r}; legal are {', '.join(MODELS)}"
    close = difflib.get_close_matches(name.lower().replace("-", "_"), MODELS, n=1)
    raise UnknownModelError(f"{message}; did you mean {close[0]}?" if close else message)
