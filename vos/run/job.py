"""What the user wants of one video, as a value that goes to JSON and back.

A job says which frames of which source, which references, which model and method, and where the
results go. :func:`vos.run.run_job.run_job` does it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from vos.config import METHODS, STRICT, RunConfig
from vos.errors import InputError
from vos.moments import parse_moment, write_moment
from vos.run.references import Reference, check_frames_differ
from vos.sink.tallies import DEFAULT_MIN_SCORE
from vos.source import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model, and how it is run; as the arguments of :func:`vos.load_sam`.

    Attributes:
        name: A registered model.
        checkpoint: Weights of that model instead of the registered ones, or None.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: Arithmetic of the image encoder: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        compiled: Whether the image encoder is compiled.
        skip_padding: Whether the image encoder leaves out most of the padding.
    """

    __pydantic_config__: ClassVar = STRICT

    name: str = "nano"
    checkpoint: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    compiled: bool = False
    skip_padding: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutputs:
    """Where the results of a job go.

    Attributes:
        folder: Folder of the results.
        name: Name of the results; the source's if None.
        overlay_alpha: Opacity of the overlay's colours in [0, 1]; None writes no overlay.
        min_score: Below this score a mask is doubtful: its contour is dashed in the overlay, and
            the summary counts it.
        reference_path: A PNG for the mask of the first frame, as it is used; or None.
    """

    __pydantic_config__: ClassVar = STRICT

    folder: Path = Path("results")
    name: str | None = None
    overlay_alpha: float | None = 0.5
    min_score: float = DEFAULT_MIN_SCORE
    reference_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One video to segment.

    Attributes:
        source: A file, a folder of images, the URL of a stream, or a camera.
        references: What shows the objects; one of them is of the first frame used.
        selection: Which frames of the source are used, and what they may be.
        outputs: Where the results go.
        model: The model.
        config: The method and its settings.
    """

    __pydantic_config__: ClassVar = STRICT

    source: str
    references: tuple[Reference, ...]
    selection: Selection = field(default_factory=Selection)
    outputs: JobOutputs = field(default_factory=JobOutputs)
    model: ModelChoice = field(default_factory=ModelChoice)
    config: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Check that the references do not contradict each other.

        Raises:
            InputError: there is none, or several are of one frame.
        """
        if not self.references:
            raise InputError("a job needs a reference: a mask, or boxes and clicks")
        check_frames_differ(self.references)

    def with_reference(self, reference: Reference) -> Job:
        """Give the job with a further reference, which replaces that of the same frame."""
        others = (each for each in self.references if each.frame != reference.frame)
        return replace(self, references=(*others, reference))

    def to_json(self) -> str:
        """Give the job as a JSON document; times are strings such as ``4.8s``."""
        return json.dumps(self.to_json_values(), indent=2)

    def to_json_values(self) -> dict[str, Any]:
        """Give the job as values that JSON has."""
        document: dict[str, Any] = _adapter(Job).dump_python(self, mode="json")
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
            raise InputError(f"this is no job: it is no JSON: {error}") from error
        if not isinstance(document, dict):
            raise InputError(f"this is no job: it is no object, but {type(document).__name__}")
        _each_moment(document, _read_moment)
        config = document.get("config")
        method = config.pop("method", None) if isinstance(config, dict) else None
        job: Job = _validate(cls, document, "")
        if method is None:
            return job
        name = method.pop("name", None) if isinstance(method, dict) else None
        if not isinstance(name, str) or name not in METHODS:
            raise InputError(
                f"this is no job: config.method.name must be one of {', '.join(METHODS)}, "
                f"got {name!r}"
            )
        settings = _validate(METHODS[name], method, "config.method.")
        return replace(job, config=replace(job.config, method=settings))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _each_moment(document: dict[str, Any], change: Callable[[Any], Any]) -> None:
    """Change what names a frame in a job's document, in place.

    JSON has one kind of number, and programs write the time 4.0 as 4, which would be a frame.
    """
    selection, references = document.get("selection"), document.get("references")
    for holder, keys in (
        (selection, ("start", "end")),
        *((each, ("frame",)) for each in references or () if isinstance(references, list)),
    ):
        for key in keys if isinstance(holder, dict) else ():
            if holder.get(key) is not None:
                holder[key] = change(holder[key])


def _read_moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    moment = parse_moment(value)
    if moment is None:
        raise InputError(f"this is no job: {value!r} is neither a frame nor a time such as 4.8s")
    return moment


def _validate(kind: Any, document: Any, prefix: str) -> Any:
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(json.dumps(document))
    except ValidationError as error:
        faults = (
            f"{prefix}{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise InputError(f"this is no job: {'; '.join(faults)}") from error


@cache
def _adapter(kind: Any) -> Any:
    # pydantic takes half a second to import, which most runs have no use for.
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
