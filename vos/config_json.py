"""Settings as plain JSON values, and back: strict about names, types and ranges."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, is_dataclass
from reprlib import repr as shortened
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_type_hints

from vos.config import METHODS, RunConfig
from vos.errors import InputError

T = TypeVar("T")

_MAX_WHOLE: Final = (1 << 63) - 1  # what numpy and torch take


def config_to_json(config: RunConfig) -> dict[str, object]:
    """Give settings as JSON values; the method bears its name beside its settings."""
    method = {"name": config.method.name, **asdict(config.method)}
    return {"method": method, "num_read_ahead": config.num_read_ahead}


def config_from_json(value: object) -> RunConfig:
    """Read what :func:`config_to_json` gives; settings that are left out have their defaults.

    Raises:
        InputError: an unknown method or setting, or a value of another type or out of range.
    """
    settings = dict(_object(value, "settings"))
    if "method" in settings:
        method = dict(_object(settings["method"], "settings.method"))
        name = method.pop("name", None)
        if not isinstance(name, str) or name not in METHODS:
            raise InputError(
                f"settings.method.name must be one of {', '.join(METHODS)}, got {shortened(name)}"
            )
        settings["method"] = _record(METHODS[name], method, "settings.method")
    return _record(RunConfig, settings, "settings")


def _object(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InputError(f"{path} must be an object, got {shortened(value)}")
    return value


def _record(kind: type[T], value: dict[str, object], path: str) -> T:
    """Build a dataclass, each field by its annotation."""
    hints = get_type_hints(kind)
    legal = [each.name for each in fields(cast(Any, kind))]
    for name in value:
        if name not in legal:
            raise InputError(f"{path} has no {shortened(name)}; there are {', '.join(legal)}")
    return kind(
        **{name: _field(hints[name], each, f"{path}.{name}") for name, each in value.items()}
    )


def _field(hint: Any, value: object, path: str) -> object:
    hints = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for each in hints:
        if is_dataclass(each) and type(value) is each:  # the method, which was read before
            return value
        if is_dataclass(each) and isinstance(value, dict):
            return _record(cast(type, each), value, path)
        if each in (int, float):
            if type(value) in (int, each) and _is_moderate(value):
                return each(value)
        elif type(value) is each:
            return value
        if isinstance(value, str) and value in get_args(each):
            return value
    legal = " or ".join(_in_words(each) for each in hints)
    raise InputError(f"{path} must be {legal}, got {shortened(value)}")


def _is_moderate(value: Any) -> bool:
    """Whether a number is one that arithmetic takes: JSON knows NaN and integers of any length."""
    return -_MAX_WHOLE <= value <= _MAX_WHOLE and not math.isnan(value)


def _in_words(hint: Any) -> str:
    words = {float: "a number", int: "a whole number", bool: "true or false", NoneType: "null"}
    return words.get(hint) or " or ".join(map(repr, get_args(hint))) or "an object"
