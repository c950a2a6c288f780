"""What a run carries from frame to frame, as bytes: nested frozen dataclasses, and no pickle.

A state is a line with a checksum, then a safetensors document. That holds every array and tensor,
and the rest as JSON. The annotations of the dataclasses say what may stand where; nothing but
them is ever built from a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from vos.errors import InputError

T = TypeVar("T")

_MAGIC: Final = b"vos state 2 "
_DOCUMENT: Final = "document"
_PLAIN: Final = (bool, int, float, str)
_MAX_INT: Final = (1 << 63) - 1  # what numpy, torch and range take
_FORGED: Final = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)
"""What records and tensors raise when they are built from what does not belong together."""

Tensors = dict[str, torch.Tensor]


def encode_state(record: Any) -> bytes:
    """Turn a frozen dataclass into bytes; equal records give equal bytes.

    Args:
        record: Its fields may be further dataclasses, tuples and frozensets of what is legal,
            numpy arrays, torch tensors on any device, bool, int, float, str and None.

    Raises:
        InputError: a value of another kind.
    """
    tensors: Tensors = {}
    document = json.dumps(_encode(record, tensors))
    tensors[_DOCUMENT] = torch.frombuffer(bytearray(document.encode()), dtype=torch.uint8)
    body = safetensors.torch.save(tensors)
    return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode_state(kind: type[T], data: bytes, device: torch.device) -> T:
    """Rebuild a record, to the last bit and with the memory layout it had.

    Args:
        kind: The dataclass that was encoded.
        data: From :func:`encode_state`.
        device: Where all tensors go, whatever device they were on.

    Raises:
        InputError: the bytes are damaged, of another version, or hold something else.
    """
    head, _, body = data.partition(b"\n")
    if not head.startswith(_MAGIC):
        raise InputError("it is not a saved state of this version of vos")
    if head != _MAGIC + hashlib.sha256(body).hexdigest().encode():
        raise InputError("its checksum does not match: it is damaged")
    try:
        tensors = safetensors.torch.load(body)
        document = json.loads(tensors[_DOCUMENT].numpy().tobytes())
        return cast(T, _decode(kind, document, _Memory(tensors, device)))
    except (SafetensorError, *_FORGED) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"it cannot be decoded: {error}") from error


def check_finite(record: Any) -> None:
    """Make sure that no number of a record is NaN or infinite.

    Raises:
        InputError: one is.
    """
    if is_dataclass(record):
        for each in fields(record):
            check_finite(getattr(record, each.name))
    elif isinstance(record, tuple | frozenset):
        for each in record:
            check_finite(each)
    elif isinstance(record, np.ndarray | torch.Tensor | float):
        numbers = torch.as_tensor(record)
        if not torch.isfinite(numbers).all():
            raise InputError(f"numbers of shape {tuple(numbers.shape)} are not all finite")


def _encode(value: Any, tensors: Tensors) -> Any:
    if value is None or type(value) in _PLAIN:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _encode(getattr(value, each.name), tensors) for each in fields(value)}
    if isinstance(value, tuple):
        return [_encode(each, tensors) for each in value]
    if isinstance(value, frozenset):
        return [_encode(each, tensors) for each in sorted(value)]
    if isinstance(value, np.ndarray):
        return _store(torch.from_numpy(np.array(value, order="K")), tensors)
    if isinstance(value, torch.Tensor):
        return _store(value.detach().cpu(), tensors)
    raise InputError(f"a state cannot hold a {type(value).__name__}")


def _store(tensor: torch.Tensor, tensors: Tensors) -> dict[str, Any]:
    """Put away a tensor and say in which order its axes lie in memory.

    Sums over another layout may round differently.
    """
    strides = tensor.stride()
    axes = sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], axis))
    key = f"{len(tensors)}"
    tensors[key] = tensor.permute(axes).clone(memory_format=torch.contiguous_format)
    return {"key": key, "axes": axes}


class _Memory:
    """The tensors of a state."""

    def __init__(self, tensors: Tensors, device: torch.device) -> None:
        self._tensors = tensors
        self._device = device

    def array(self, node: Any, dtype: Any) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = self._stored(node).numpy()
        if dtype is not Any and array.dtype != dtype:
            raise InputError(f"an array of {array.dtype} stands where {dtype} belongs")
        return array

    def tensor(self, node: Any) -> torch.Tensor:
        return self._stored(node).to(self._device)

    def _stored(self, node: Any) -> torch.Tensor:
        if not isinstance(node, dict) or set(node) != {"key", "axes"}:
            raise InputError("something else stands where an array belongs")
        stored, axes = self._tensors[node["key"]], node["axes"]
        if stored.is_complex():
            raise InputError("complex numbers stand where real ones belong")
        if sorted(axes) != list(range(stored.ndim)):
            raise InputError(f"{axes} is no order of {stored.ndim} axes")
        return stored.permute([axes.index(axis) for axis in range(stored.ndim)])


def _decode(hint: Any, node: Any, memory: _Memory) -> Any:
    """Build what an annotation asks for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _PLAIN or hint is NoneType:
        is_number = hint is float and type(node) is int
        is_huge = type(node) is int and abs(node) > _MAX_INT
        return _refuse(hint, node) if is_huge or not (type(node) is hint or is_number) else node
    if is_dataclass(hint):
        return _decode_record(cast(type, hint), node, memory)
    if hint is torch.Tensor:
        return memory.tensor(node)
    if (alias := getattr(origin, "__value__", None)) is not None:
        # From numpy 2.5 on NDArray is one, as of Python 3.12.
        return _decode(alias[arguments], node, memory)
    if origin is np.ndarray:
        (dtype,) = get_args(arguments[1]) or (Any,)
        return memory.array(node, dtype)
    if origin is Literal:
        return node if node in arguments else _refuse(hint, node)
    if origin in (Union, UnionType):
        return _first_that_fits(arguments, node, lambda each: _decode(each, node, memory))
    if origin in (tuple, frozenset):
        if not isinstance(node, list):
            return _refuse(hint, node)
        each_hint = arguments[:1] * len(node)
        if origin is tuple and arguments[-1] is not ...:
            each_hint = arguments
        values = zip(each_hint, node, strict=True)
        return origin(_decode(each, value, memory) for each, value in values)
    raise InputError(f"a state cannot hold {hint}")


def _decode_record(kind: type, node: Any, memory: _Memory) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(node, dict) or set(node) != _field_names(kind):
        return _refuse(kind, node)
    names = (each.name for each in fields(kind))
    return kind(**{name: _decode(hints[name], node[name], memory) for name in names})


def _field_names(kind: Any) -> set[str]:
    return {each.name for each in fields(kind)}


def _first_that_fits(hints: tuple[Any, ...], node: Any, decode: Callable[[Any], Any]) -> Any:
    if node is None:
        return None if NoneType in hints else _refuse(hints, node)
    failure: Exception | None = None
    # Of several records, the one with these fields was meant; its error says more than the last's.
    names = set(node) if isinstance(node, dict) else None
    meant = [hint for hint in hints if is_dataclass(hint) and names == _field_names(hint)]
    for hint in meant or hints:
        try:
            return decode(hint)
        except _FORGED as error:
            failure = failure if hint is NoneType else error
    raise InputError(f"nothing of {hints} fits: {failure}")


def _refuse(hint: Any, node: Any) -> Any:
    raise InputError(f"{str(node)[:80]!r} stands where {getattr(hint, '__name__', hint)} belongs")
