"""What keeps frames from being scored, and how it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vos.errors import ScoreError

_NUM_NAMES_SHOWN: Final = 5
_NUM_LINES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a frame or a whole sequence from being scored.

    Attributes:
        sequence: The sequence's name.
        frame: The frame's name, or None for the sequence as a whole.
        reason: What is wrong.
    """

    sequence: str
    frame: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Problems:
    """All problems of one evaluation, as they are found.

    Attributes:
        faults: What is missing or broken: nothing is scored unless the caller leaves it out.
        notes: What is left out and said, but is nobody's fault.
    """

    faults: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def left_out(self, num_scored: int, *, skip_missing: bool) -> tuple[Problem, ...]:
        """Give all problems of an evaluation that may stand in spite of them.

        Args:
            num_scored: How many sequences have scores.
            skip_missing: Whether faults are left out.

        Raises:
            ScoreError: there are faults, or nothing has scores.
        """
        if self.faults and not skip_missing:
            raise self._fault_error()
        problems = (*self.faults, *self.notes)
        if not num_scored:
            raise ScoreError("\n  ".join(["there is nothing to score:", *describe(problems)]))
        return problems

    def _fault_error(self) -> ScoreError:
        lines = describe(self.faults)
        if len(lines) > _NUM_LINES_SHOWN:
            num_hidden = len(lines) - _NUM_LINES_SHOWN
            lines = [*lines[:_NUM_LINES_SHOWN], f"and {num_hidden} more such lines"]
        count = "1 problem" if len(self.faults) == 1 else f"{len(self.faults)} problems"
        return ScoreError(
            f"{count}, so nothing was scored; --skip-missing (skip_missing=True) scores the rest:\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def describe(problems: Sequence[Problem]) -> list[str]:
    """Put problems into lines: one per sequence and reason, one for sequences of one reason."""
    names_by_cause: dict[tuple[str | None, str], list[str]] = {}
    for problem in problems:
        if problem.frame is None:
            names_by_cause.setdefault((None, problem.reason), []).append(problem.sequence)
        else:
            cause = problem.sequence, problem.reason
            names_by_cause.setdefault(cause, []).append(problem.frame)
    return [
        f"{some_of(names)}: {reason}"
        if sequence is None
        else f"{sequence}, {some_of(names)}: {reason}"
        for (sequence, reason), names in names_by_cause.items()
    ]


def some_of(names: Sequence[str]) -> str:
    """List names up to a bound, and say how many more there are."""
    shown = ", ".join(names[:_NUM_NAMES_SHOWN])
    num_hidden = len(names) - _NUM_NAMES_SHOWN
    return f"{shown} and {num_hidden} more" if num_hidden > 0 else shown
