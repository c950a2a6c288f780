"""What the user wants of one video, as a value that goes to JSON and back.

A job says which frames of which source, which references, which model and method, and where the
results go. :func:`vos.run.run_job.run_job` does it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from vos.config import METHODS, STRICT, Cutie, Features, RunConfig, Sam2
from vos.errors import InputError
from vos.moments import parse_moment, write_moment
from vos.records import MAX_OBJECT_ID
from vos.run.references import Reference, check_frames_differ
from vos.sink.tallies import DEFAULT_MIN_SCORE
from vos.source import Selection

_MAX_NAME_LETTERS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model, and how it is run; as the arguments of :func:`vos.load_sam`.

    Attributes:
        name: A registered model. Where the method has a network of its own, this one only makes
            masks of clicks and boxes.
        checkpoint: Weights of that model instead of the registered ones, or None. Where the method
            has a network of its own, they are that network's.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: Arithmetic of the image encoder: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        compiled: Whether the image encoder is compiled.
        skip_padding: Whether the image encoder leaves out most of the padding.
        features: A further model whose features cells are compared by; None is SAM's alone.
    """

    __pydantic_config__: ClassVar = STRICT

    name: str = "nano"
    checkpoint: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    compiled: bool = False
    skip_padding: bool = False
    features: Features | None = None

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """The weights files that the user gave."""
        of_features = None if self.features is None else self.features.checkpoint
        return tuple(path for path in (self.checkpoint, of_features) if path is not None)

    def below(self, folder: Path) -> ModelChoice:
        """Give the choice with its relative paths taken from a folder."""
        features = self.features
        if features is not None and features.checkpoint is not None:
            features = replace(features, checkpoint=folder / features.checkpoint)
        checkpoint = None if self.checkpoint is None else folder / self.checkpoint
        return replace(self, checkpoint=checkpoint, features=features)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutputs:
    """Where the results of a job go.

    Attributes:
        folder: Folder of the results.
        name: Name of the results; the source's if None.
        overlay_alpha: Opacity of the overlay's colours in [0, 1]; None writes no overlay.
        min_score: Below this score a mask is doubtful: its contour is dashed in the overlay, and
            the summary counts it.
        reference_path: A PNG for the mask of the earliest reference, as it is used; or None.
    """

    __pydantic_config__: ClassVar = STRICT

    folder: Path = Path("results")
    name: str | None = None
    overlay_alpha: float | None = 0.5
    min_score: float = DEFAULT_MIN_SCORE
    reference_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Frames in which an object is absent, as the user says.

    The object has no mask there, and nothing is learned from these frames. After the last one, the
    whole frame is searched for the object, as for a lost one.

    Attributes:
        object_id: 1 to 254.
        first: The first of these frames, by index (int) or by time in seconds (float).
        last: The last of them, likewise.
    """

    __pydantic_config__: ClassVar = STRICT

    object_id: int
    first: int | float
    last: int | float

    def __post_init__(self) -> None:
        """Check the object and the order.

        Raises:
            InputError: an illegal id or moment, or the last frame is before the first.
        """
        _check_ids("absence", (self.object_id,))
        _check_order(f"the absence of object {self.object_id}", self.first, self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One video to segment.

    Attributes:
        source: A file, a folder of images, a stream's URL, or a camera; a ``Path`` becomes text.
        references: Masks, clicks and boxes that show the objects, in any of the frames used.
        selection: Which frames of the source are used, and what they may be.
        outputs: Where the results go.
        model: The model.
        config: The method and its settings.
        names: Names of objects by id; an object without a name is called by its id.
        colours: (red, green, blue) of objects in the overlay and in the page, 0 to 255, by id; the
            others have those of their mask's file, or ``vos.masks.OBJECT_COLOURS``.
        absences: Frames in which objects are absent.
        dropped: Ids of objects to leave out, though references show them.
        tracked: First and last frame, by index or time, between which objects are tracked and
            masks written; references may be outside. None is everywhere.
        causal: Whether each frame is segmented from earlier frames only: references count from
            their frame on, and nothing is tracked backwards. A source that can be read only once
            is always segmented so.
    """

    __pydantic_config__: ClassVar = STRICT

    source: str
    references: tuple[Reference, ...]
    selection: Selection = field(default_factory=Selection)
    outputs: JobOutputs = field(default_factory=JobOutputs)
    model: ModelChoice = field(default_factory=ModelChoice)
    config: RunConfig = field(default_factory=RunConfig)
    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    absences: tuple[Absence, ...] = ()
    dropped: tuple[int, ...] = ()
    tracked: tuple[int | float, int | float] | None = None
    causal: bool = False

    def __post_init__(self) -> None:
        """Check that the fields do not contradict each other.

        Raises:
            InputError: there is no reference, or several are of one frame; an illegal id, name
                or colour; a range that ends before it begins.
        """
        if isinstance(self.source, os.PathLike):
            # All other paths of a job are Path objects, so this one will be given as one too.
            object.__setattr__(self, "source", os.fspath(self.source))
        if not self.references:
            raise InputError("a job needs a reference: a mask, or boxes and clicks")
        check_frames_differ(self.references)
        _check_ids("name", self.names)
        _check_ids("colour", self.colours)
        _check_ids("drop", self.dropped)
        for object_id, rgb in self.colours.items():
            if not all(0 <= value <= 255 for value in rgb):
                raise InputError(
                    f"the colour of object {object_id} must be three numbers of 0 to 255, got {rgb}"
                )
        for object_id, name in self.names.items():
            if not (name.strip() and name.isprintable() and len(name) <= _MAX_NAME_LETTERS):
                raise InputError(
                    f"the name of object {object_id} must be 1 to {_MAX_NAME_LETTERS} printable "
                    f"letters, got {name!r}"
                )
        if self.tracked is not None:
            _check_order("the range to track", *self.tracked)

    @property
    def sam(self) -> ModelChoice:
        """The SAM of this job."""
        if isinstance(self.config.method, Cutie | Sam2):
            return replace(self.model, checkpoint=None)
        return self.model

    def with_reference(self, reference: Reference) -> Job:
        """Give the job with a further reference, which replaces that of the same frame."""
        others = (each for each in self.references if each.frame != reference.frame)
        return replace(self, references=(*others, reference))

    def to_json(self) -> str:
        """Give the job as a JSON document; times are strings such as ``4.8s``."""
        return json.dumps(self.to_json_values(), indent=2)

    def to_json_values(self) -> dict[str, Any]:
        """Give the job as values that JSON has."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self), default=os.fspath))
        document["config"] = self.config.to_json_values()
        _each_moment(document, write_moment)
        return document

    @classmethod
    def from_json(cls, text: str | bytes) -> Job:
        """Read what :meth:`to_json` gave; what is left out has its default.

        Raises:
            InputError: it is no JSON, or holds something that is no job; the message names every
                field that is wrong.
        """
        try:
            document = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise InputError(f"this is not a job: it is not JSON: {error}") from error
        if not isinstance(document, dict):
            got = type(document).__name__
            raise InputError(f"this is not a job: it must be a JSON object, got {got}")
        _each_moment(document, _read_moment)
        config = document.get("config")
        method = config.pop("method", None) if isinstance(config, dict) else None
        job: Job = _validate(cls, document, "")
        if method is None:
            return job
        name = method.pop("name", None) if isinstance(method, dict) else None
        if not isinstance(name, str) or name not in METHODS:
            raise InputError(
                f"this is not a job: config.method.name must be one of {', '.join(METHODS)}, "
                f"got {name!r}"
            )
        settings = _validate(METHODS[name], method, "config.method.")
        return replace(job, config=replace(job.config, method=settings))


def _check_ids(what: str, object_ids: Iterable[int]) -> None:
    for object_id in object_ids:
        if isinstance(object_id, bool) or not 1 <= object_id <= MAX_OBJECT_ID:
            raise InputError(f"{what}: object ids are 1 to {MAX_OBJECT_ID}, got {object_id!r}")


def _check_order(what: str, first: int | float, last: int | float) -> None:
    for bound in (first, last):
        if not (math.isfinite(bound) and bound >= 0):
            raise InputError(f"{what}: frames and times are 0 or more, got {bound!r}")
    if type(first) is type(last) and first > last:
        raise InputError(f"{what} must not end before it begins, got {first!r} to {last!r}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _each_moment(document: dict[str, Any], change: Callable[[Any], Any]) -> None:
    """Change what names a frame in a job's document, in place.

    JSON has one kind of number, and programs write the time 4.0 as 4, which would be a frame.
    """
    selection, tracked = document.get("selection"), document.get("tracked")
    for holders, keys in (
        ([selection], ("start", "end")),
        (document.get("references"), ("frame",)),
        (document.get("absences"), ("first", "last")),
    ):
        for holder in holders if isinstance(holders, list) else ():
            for key in keys if isinstance(holder, dict) else ():
                if holder.get(key) is not None:
                    holder[key] = change(holder[key])
    if isinstance(tracked, list):
        document["tracked"] = [change(each) for each in tracked]


def _read_moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    moment = parse_moment(value)
    if moment is None:
        raise InputError(f"this is not a job: {value!r} is neither a frame nor a time such as 4.8s")
    return moment


def _validate(kind: Any, document: Any, prefix: str) -> Any:
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(json.dumps(document))
    except ValidationError as error:
        faults = (
            f"{prefix}{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise InputError(f"this is not a job: {'; '.join(faults)}") from error


@cache
def _adapter(kind: Any) -> Any:
    # Its import and the schema take a twelfth of a second, which most runs have no use for.
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
