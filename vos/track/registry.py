"""The networks of the methods that have one of their own: where their weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from vos.sam.weights.registry import ModelSpec

CUTIE_MD5: Final = "a6071de6136982e396851903ab4c083a"
"""Of Cutie's file. Its authors publish this, and no SHA-256."""

_META: Final = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"

_CUTIE: Final = ModelSpec(
    name="cutie",
    file_name="cutie-base-mega.pth",
    url="https://github.com/hkchengrex/Cutie/releases/download/v1.0/cutie-base-mega.pth",
    sha256=None,
    num_bytes=None,
    licence="MIT",
    image_size=None,
    description="--method cutie: Cutie, size base",
    accuracy="DAVIS 2017 val: J&F 87.9, 44 frames per second on an A6000 (Cutie's authors)",
    builder="vos.track.cutie.load:load_cutie",
    extra="cutie",
)


def _sam2_spec(
    size: str, file_name: str, sha256: str, num_bytes: int, accuracy: tuple[float, float, float]
) -> ModelSpec:
    return ModelSpec(
        name=f"sam2.1-{size}",
        file_name=file_name,
        url=f"{_META}/{file_name}",
        sha256=sha256,
        num_bytes=num_bytes,
        licence="Apache-2.0",
        image_size=1024,
        description=f"--method sam2.1-{size}: SAM 2.1, size {size}",
        accuracy="J&F on SA-V test {}, MOSE val {}, LVOS v2 {} (SAM 2's authors, README)".format(
            *accuracy
        ),
        builder="vos.track.sam2.load:load_sam2",
        extra="models",
    )


_SPECS: Final = (
    _CUTIE,
    _sam2_spec(
        "tiny",
        "sam2.1_hiera_tiny.pt",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        156_008_466,
        (76.5, 71.8, 77.3),
    ),
    _sam2_spec(
        "small",
        "sam2.1_hiera_small.pt",
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        184_416_285,
        (76.6, 73.5, 78.3),
    ),
    _sam2_spec(
        "base-plus",
        "sam2.1_hiera_base_plus.pt",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        323_606_802,
        (78.2, 73.7, 78.2),
    ),
    _sam2_spec(
        "large",
        "sam2.1_hiera_large.pt",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        898_083_611,
        (79.5, 74.6, 80.6),
    ),
)

NETWORKS: Final[Mapping[str, ModelSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""Every network by the name of its method on the command line."""
