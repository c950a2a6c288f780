"""The network classes of segment_anything, loaded without the package's own ``__init__``.

That ``__init__`` also imports its image helpers, and with them torchvision, which nothing here
uses and which cannot be installed beside every torch. The ``modeling`` folder needs only torch
and imports relatively, so it is loaded under a name of our own that points at the same folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any, Final

from torch import nn

_ALIAS: Final = f"{__name__}_package"


def _load_modeling() -> ModuleType:
    spec = importlib.util.find_spec("segment_anything")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("no package segment_anything", name="segment_anything")
    package = ModuleType(_ALIAS)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[_ALIAS] = package
    return importlib.import_module(f"{_ALIAS}.modeling")


_modeling = _load_modeling()

Sam: Final[type[nn.Module]] = _modeling.Sam
ImageEncoderViT: Final[type[nn.Module]] = _modeling.ImageEncoderViT
PromptEncoder: Final[type[nn.Module]] = _modeling.PromptEncoder
MaskDecoder: Final[type[nn.Module]] = _modeling.MaskDecoder
TwoWayTransformer: Final[type[nn.Module]] = _modeling.TwoWayTransformer
LayerNorm2d: Final[type[nn.Module]] = _modeling.prompt_encoder.LayerNorm2d


def is_own_class(module: Any, own: type[nn.Module]) -> bool:
    """Tell whether a module is of exactly one of the classes above, or of the published package's.

    A subclass, or a class of the same name from elsewhere, may compute something else.
    """
    name = own.__module__.replace(_ALIAS, "segment_anything")
    published = getattr(sys.modules.get(name), own.__name__, None)
    return type(module) in (own, published)
