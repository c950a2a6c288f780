"""The engine of a cluster: actors of Ray, each of which loads its model once.

Ray places the actors, notices when one or its machine is lost, and carries tasks and outcomes. All
else is as on one machine: a lost actor's task counts as tried and comes again, its claim ends with
its process or expires with its machine, and another actor goes on from what was saved last.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic

from vos.batch.engines import Engine
from vos.batch.outcome import MakeWork, Outcome, Work
from vos.batch.pending import Pending, T
from vos.errors import InputError

_WAIT_SECONDS: Final = 0.5


def ray_engine(
    num_workers: int | None, *, num_threads: int | None, device: str
) -> tuple[Engine, int]:
    """Give the engine of the cluster that this process is part of.

    Args:
        num_workers: How many actors; None for one on each GPU, or on each core without them.
        num_threads: Threads and cores of each; None for 1, or the cores' share of a GPU.
        device: Of the model; an actor has a GPU of its own where that is any GPU and there are any.

    Returns:
        The engine, and the threads of each actor.

    Raises:
        InputError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("the engine ray is not installed; install vos-persam[ray]") from error
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError as error:
            raise InputError(
                "there is no cluster of Ray here; begin one with ray start --head, or name one "
                "with RAY_ADDRESS"
            ) from error
    there = ray.cluster_resources()
    num_cores, num_gpus = int(there.get("CPU", 1)), int(there.get("GPU", 0))
    has_gpus = num_gpus > 0 and device in ("auto", "cuda")
    num_threads = num_threads or (max(1, num_cores // num_gpus) if has_gpus else 1)
    engine = partial(
        run_on_ray,
        num_actors=num_workers or (num_gpus if has_gpus else max(1, num_cores // num_threads)),
        num_cores=num_threads,
        num_gpus=int(has_gpus),
    )
    return engine, num_threads


def run_on_ray(
    pending: Pending[T],
    make_work: MakeWork,
    *,
    num_actors: int,
    num_cores: int = 1,
    num_gpus: int = 0,
    on_frames: Callable[[int], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Do tasks in actors, one task at a time in each.

    Args:
        pending: The tasks; they are taken when an actor is free.
        make_work: Makes what does them, in each actor.
        num_actors: How many there are to be; fewer while the cluster has no room for more.
        num_cores: Of each.
        num_gpus: Of each.
        on_frames: Called with the frames of each task when it ends.
        should_stop: Asked about every half second; then the frames in hand are finished.

    Yields:
        What became of each task, in the order in which they end; not of those that a stop left.
    """
    import ray

    make_actor = ray.remote(
        num_cpus=num_cores, num_gpus=num_gpus, max_concurrency=2, max_restarts=0
    )(_Actor)
    actors: _Actors[T] = _Actors(make_actor, pickle.dumps(make_work), str(num_cores))
    is_stopping = False
    try:
        while True:
            if should_stop() and not is_stopping:
                is_stopping = True
                for actor, _ in actors.busy.values():
                    actor.stop.remote()
            while not is_stopping and actors.idle and (task := pending.take()) is not None:
                actors.give(task)
            if not actors.busy and (is_stopping or pending.is_over):
                return
            while not is_stopping and len(actors) < num_actors:
                actors.start()
            references = [*actors.starting, *actors.busy]
            if not references:  # all that is left is to be tried later
                time.sleep(_WAIT_SECONDS)
                continue
            for reference in ray.wait(references, timeout=_WAIT_SECONDS)[0]:
                ended = actors.settle(reference)
                if ended is None:
                    continue
                outcome = pending.settle(*ended)
                on_frames(ended[1].num_frames)
                if outcome is not None:
                    yield outcome
    finally:
        actors.end()


class _Actor:
    """Runs in a process of its own; tells and is told to stop while it works."""

    def __init__(self, environment: dict[str, str], make_work: bytes) -> None:
        os.environ.update(environment)
        self._make_work = make_work
        self._manager: AbstractContextManager[Work] | None = None
        self._do: Work | None = None
        self._stop = threading.Event()

    def is_there(self) -> bool:
        return True

    def do(self, task: bytes) -> Outcome:
        if self._do is None:
            self._manager = pickle.loads(self._make_work)()
            self._do = self._manager.__enter__()
        return self._do(pickle.loads(task), lambda: None, self._stop.is_set)

    def stop(self) -> None:
        self._stop.set()


@dataclass(slots=True, eq=False)
class _Actors(Generic[T]):
    """All actors: those that the cluster has not placed yet, idle ones, and busy ones."""

    make_actor: Any
    make_work: bytes
    num_threads: str
    starting: dict[Any, Any] = field(default_factory=dict)
    idle: list[Any] = field(default_factory=list)
    busy: dict[Any, tuple[Any, T]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.starting) + len(self.idle) + len(self.busy)

    def start(self) -> None:
        actor = self.make_actor.remote({"OMP_NUM_THREADS": self.num_threads}, self.make_work)
        self.starting[actor.is_there.remote()] = actor

    def give(self, task: T) -> None:
        actor = self.idle.pop()
        self.busy[actor.do.remote(pickle.dumps(task))] = actor, task

    def settle(self, reference: Any) -> tuple[T, Outcome] | None:
        """Take what an actor has answered: an outcome, that it is there, or that it is lost."""
        import ray

        if reference in self.starting:
            actor, task = self.starting.pop(reference), None
        else:
            actor, task = self.busy.pop(reference)
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            ray.kill(actor)  # where it only cannot be reached
            # The first line says what became of an actor, the last what was raised inside of one.
            is_inside = isinstance(error, ray.exceptions.RayTaskError)
            what = str(error).splitlines()[-1 if is_inside else 0]
            answer = Outcome(
                name="" if task is None else task.name,
                state="failed",
                error=f"its actor {'failed' if is_inside else 'was lost'}: {what}",
                error_kind="WorkerLost",
                can_pass=True,
            )
        else:
            self.idle.append(actor)
        return None if task is None else (task, answer)

    def end(self) -> None:
        import ray

        for actor in (
            *self.starting.values(),
            *self.idle,
            *(each for each, _ in self.busy.values()),
        ):
            ray.kill(actor)
