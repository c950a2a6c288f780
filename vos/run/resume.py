"""Going on with a run that broke off: whether it is the same one, and where it stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, Final

import torch

from vos.errors import InputError, OutputError, SourceError, VosError, is_out_of_memory
from vos.files import refusals
from vos.records import MAX_OBJECT_ID, Frame, SourceInfo
from vos.run.outputs import Outputs
from vos.run.state import check_finite, decode_state
from vos.segment.forward import Progress, Step
from vos.source import Selection, open_selection

_FILES: Final = ("label_map", "soft_edges")


@dataclass(frozen=True, slots=True)
class Mark:
    """The frame at which the source is opened again, the first of the overlay's open piece.

    Attributes:
        number: Its number among the delivered frames.
        index: ``Frame.index``.
        pts_seconds: ``Frame.pts_seconds``.
        name: ``Frame.name``.
        rgb_sha256: Hash of its pixels.
    """

    number: int
    index: int
    pts_seconds: float
    name: str
    rgb_sha256: str

    @classmethod
    def of(cls, number: int, frame: Frame) -> Mark:
        """Mark a frame."""
        rgb_sha256 = hashlib.sha256(frame.rgb.tobytes()).hexdigest()
        return cls(number, frame.index, frame.pts_seconds, frame.name, rgb_sha256)


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A run's state between two frames.

    Attributes:
        header: What the run is, as JSON: the header of its summary.
        num_frames: Frames done.
        mark: Where to open the source.
        progress: What the next frame needs.
        elapsed_seconds: How long the run has taken so far.
    """

    header: str
    num_frames: int
    mark: Mark
    progress: Progress
    elapsed_seconds: float


def load_saved(
    outputs: Outputs,
    header: dict[str, object],
    device: torch.device,
    *,
    is_backwards: bool = False,
) -> Saved | None:
    """Read where an earlier run of the same video, references, settings and model stands.

    Args:
        outputs: Where its results are.
        header: What the run is now.
        device: The model's.
        is_backwards: Whether its frames come from the last to the first.

    Returns:
        The state, or None if there is none.

    Raises:
        OutputError: the state is damaged, or of another run; the message names what differs.
    """
    path = outputs.state_path
    try:
        data = path.read_bytes()
        saved = decode_state(Saved, data, device)
        before = json.loads(saved.header)
        _check_same(before, header, outputs)
        _check_sound(saved, is_backwards=is_backwards)
    except FileNotFoundError:
        return None
    except OutputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise _cannot_go_on(path, error) from error
    return saved


def going_on(steps: Generator[Step, None, None], outputs: Outputs) -> Generator[Step, None, None]:
    """Pass on the steps of a run that goes on from a saved state.

    What a state holds is known to be sound only in part. Whether its arrays fit the model and one
    another shows when they are used.

    Raises:
        OutputError: something failed that is no error of vos.
        VosError: as ``steps``.
    """
    with closing(steps):
        try:
            yield from steps
        except VosError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise _cannot_go_on(outputs.state_path, error, "if that happens again, ") from error


def _cannot_go_on(path: Path, error: Exception, when: str = "") -> OutputError:
    what, *_ = str(error).splitlines() or [""]
    if not isinstance(error, OSError | InputError):
        what = f"{type(error).__name__}: {what}"
    return OutputError(f"cannot go on from {path}: {what}; {when}pass --overwrite to start again")


def _check_sound(saved: Saved, *, is_backwards: bool) -> None:
    """Refuse what a checksum does not show: values that no run leaves.

    Raises:
        InputError: there are some.
    """
    mark, progress = saved.mark, saved.progress
    if not 0 <= mark.number < saved.num_frames:
        raise InputError(f"frame {mark.number} is not one of the {saved.num_frames} done")
    low, high = mark.index, progress.frame_index
    if is_backwards:
        low, high = high, low
    if not 0 <= low <= high:
        raise InputError(f"frame {mark.index} does not come before frame {progress.frame_index}")
    ids = progress.state.object_ids
    if list(ids) != sorted(set(ids)) or not ids or ids[0] < 1 or ids[-1] > MAX_OBJECT_ID:
        raise InputError(f"{ids} are not object ids")
    check_finite(saved)


def read_finished(outputs: Outputs, header: dict[str, object]) -> dict[str, Any] | None:
    """Read the summary of an earlier run that has done all of this.

    Returns:
        The summary, or None where no run has come to its end.

    Raises:
        OutputError: there are results of another run, and the message names what differs; or label
            maps of this one are gone.
    """
    if outputs.unfinished_folder.exists() or not outputs.summary_path.exists():
        return None
    faults = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
    with refusals(f"read {outputs.summary_path}", *faults):
        before: dict[str, Any] = json.loads(outputs.summary_path.read_text(encoding="utf-8"))
        _check_same({key: before.get(key) for key in header}, header, outputs)
        for frame in before["frames"]:
            for path in [outputs.folder / frame[key] for key in _FILES if key in frame]:
                if not path.is_file():
                    raise OutputError(
                        f"{path}, which was done before, is gone; pass --overwrite to start again"
                    )
    return before


@contextmanager
def open_again(
    path: str, selection: Selection, mark: Mark
) -> Iterator[tuple[SourceInfo, Iterator[Frame]]]:
    """Open a source at a frame that an earlier run marked.

    Yields:
        What is known of the source, and its frames from the marked one on, with the indices,
        times and names that they had.

    Raises:
        SourceError: the source has changed.
    """
    with ExitStack() as stack:
        for is_direct in (True, False):  # a file that misleads seeking is decoded from its start
            with suppress(SourceError):
                first_index = mark.index if is_direct else None
                opened = open_selection(path, selection, first_index=first_index)
                frames = stack.enter_context(opened)
                first = next(islice(frames, 0 if is_direct else mark.number, None), None)
                if first is not None and Mark.of(mark.number, first) == mark:
                    break
            stack.pop_all().close()
        else:
            raise SourceError(
                f"{path} has changed: frame {mark.index} is not what it was; "
                "pass --overwrite to start again"
            )
        yield frames.info, chain([first], frames)


def _check_same(before: object, header: dict[str, object], outputs: Outputs) -> None:
    now = _identity(json.loads(json.dumps(header)))
    if found := difference(_identity(before), now):
        raise OutputError(
            f"{outputs.masks_folder} holds another run: {found}; choose another output "
            "folder or name, or pass --overwrite to start again"
        )


def _identity(header: object) -> object:
    """Leave out of a header what follows from the rest.

    Those are the paths by which its inputs were named, whose hashes are in it too, and what became
    of its plan on the way.
    """
    if not isinstance(header, dict):
        return header
    left_out = ("job", "source", "made_from")
    return {key: value for key, value in header.items() if key not in left_out}


def difference(before: object, now: object, name: str = "") -> str | None:
    """Say what differs first in two JSON values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            inner = f"{name}.{key}" if name else str(key)
            if found := difference(before.get(key), now.get(key), inner):
                return found
        return None
    if isinstance(before, list) and isinstance(now, list):
        for index, (one, other) in enumerate(zip_longest(before, now)):
            if found := difference(one, other, f"{name}.{index}"):
                return found
        return None
    return None if before == now else f"{name} was {before!r} and is {now!r}"
