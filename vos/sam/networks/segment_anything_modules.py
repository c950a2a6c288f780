"""The networks of segment_anything, loaded without the package's own ``__init__``.

That ``__init__`` also imports its image helpers, and with them torchvision, which nothing here
uses and which cannot be installed beside every torch. What is needed here imports only torch, and
the rest relatively, so it is loaded under another name that points at the same folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from torch import Tensor, nn

_ALIAS: Final = f"{__name__}_package"


def _register_package() -> None:
    spec = importlib.util.find_spec("segment_anything")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("no package segment_anything", name="segment_anything")
    package = ModuleType(_ALIAS)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[_ALIAS] = package


_register_package()
_modeling = importlib.import_module(f"{_ALIAS}.modeling")
_build_sam = importlib.import_module(f"{_ALIAS}.build_sam")

Sam: Final[type[nn.Module]] = _modeling.Sam
ImageEncoderViT: Final[type[nn.Module]] = _modeling.ImageEncoderViT
PromptEncoder: Final[type[nn.Module]] = _modeling.PromptEncoder
MaskDecoder: Final[type[nn.Module]] = _modeling.MaskDecoder
TwoWayTransformer: Final[type[nn.Module]] = _modeling.TwoWayTransformer
LayerNorm2d: Final[type[nn.Module]] = _modeling.prompt_encoder.LayerNorm2d

build_sam_vit_b: Final[Callable[[], nn.Module]] = _build_sam.build_sam_vit_b
build_sam_vit_l: Final[Callable[[], nn.Module]] = _build_sam.build_sam_vit_l
build_sam_vit_h: Final[Callable[[], nn.Module]] = _build_sam.build_sam_vit_h

window_partition: Final[Callable[[Tensor, int], tuple[Tensor, tuple[int, int]]]] = (
    _modeling.image_encoder.window_partition
)
"""Takes (B, h, w, C) cells and a side; gives (B * windows, side, side, C), and the padded (h, w).
Zeros on the right and at the bottom make a multiple of the side, and take part in attention."""

window_unpartition: Final[Callable[[Tensor, int, tuple[int, int], tuple[int, int]], Tensor]] = (
    _modeling.image_encoder.window_unpartition
)
"""Takes windows, their side, the padded and the real (h, w); gives (B, h, w, C) cells."""


def is_exactly(module: Any, expected: type[nn.Module]) -> bool:
    """Tell whether a module is of exactly one of the classes above, or of the published package's.

    A subclass, or a class of the same name from elsewhere, may compute something else.
    """
    name = expected.__module__.replace(_ALIAS, "segment_anything")
    published = getattr(sys.modules.get(name), expected.__name__, None)
    return type(module) in (expected, published)
