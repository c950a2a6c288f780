"""What all workers have in common: how they are set up, the model, and errors as outcomes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vos.batch.outcome import Outcome
from vos.errors import DownloadError, StoreError, VosError, is_out_of_memory
from vos.run.job import ModelChoice
from vos.run.run_job import load_model
from vos.sam.model import SamModel

_log = logging.getLogger("vos")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker is set up; pickled on its way there.

    Attributes:
        num_threads: Threads of the arithmetic; None for all that there are.
        prepare: Called with them before anything else.
        load_model: Loads the model of a job.
    """

    num_threads: int | None = None
    prepare: Callable[[int | None], object] | None = None
    load_model: Callable[[ModelChoice], SamModel] = load_model


class KeptModel:
    """Gives the model of a job, which stays loaded until another one is asked for.

    Args:
        settings: Of the worker, which is prepared.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        if settings.prepare is not None:
            settings.prepare(settings.num_threads)
        self._settings = settings
        self._kept: tuple[ModelChoice, SamModel] | None = None

    def __call__(self, choice: ModelChoice) -> SamModel:
        """Load a model, if it is not loaded.

        Raises:
            VosError: as :func:`vos.load_sam`.
        """
        if self._kept is None or self._kept[0] != choice:
            self._kept = None  # two large models may not fit
            self._kept = choice, self._settings.load_model(choice)
        return self._kept[1]


def outcome_of(name: str, do: Callable[[], Outcome]) -> Outcome:
    """Do a task; its error becomes its outcome, so that one bad job never stops the others.

    What is warned of meanwhile is in the outcome too, for workers' lines would mix.
    """
    started = time.monotonic()
    with _warnings() as warnings:
        try:
            outcome = do()
        except Exception as error:
            outcome = _failure(name, error)
    return replace(outcome, seconds=time.monotonic() - started, warnings=tuple(warnings))


def _failure(name: str, error: BaseException) -> Outcome:
    """Say what failed; what is no error of vos is a fault in it, and says where."""
    text = str(error)
    if not isinstance(error, VosError) and not is_out_of_memory(error):
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else "somewhere"
        text = f"a fault in vos, at {where}: {type(error).__name__}: {text}"
    return Outcome(
        name=name,
        state="failed",
        error=text or type(error).__name__,
        error_kind=type(error).__name__,
        can_pass=can_pass(error),
    )


def can_pass(error: BaseException) -> bool:
    """Tell failures that may pass, of networks and of memory, from those that stay."""
    return isinstance(error, DownloadError | StoreError) or is_out_of_memory(error)


class _Gather(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    texts: list[str] = []
    handlers, propagate = _log.handlers[:], _log.propagate
    _log.handlers[:], _log.propagate = [_Gather(texts)], False
    try:
        yield texts
    finally:
        _log.handlers[:], _log.propagate = handlers, propagate
