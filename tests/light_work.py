"""Work for engines that needs no model, so that processes start at once."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vos.batch.outcome import Outcome


@dataclass(frozen=True)
class Errand:
    name: str
    kind: str = "well"
    folder: Path = Path()


@contextmanager
def worker() -> Iterator:
    yield do


def do(errand: Errand, on_frame, should_stop) -> Outcome:
    mark = errand.folder / f"{errand.name}.mark"
    if errand.kind == "kills" or (errand.kind == "kills once" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if errand.kind == "fails":
        return Outcome(name=errand.name, state="failed", can_pass=True, error="no network")
    if errand.kind == "waits":
        mark.write_text(str(os.getpid()))
        while not should_stop():
            time.sleep(0.01)
        mark.with_suffix(".stopped").touch()
        return Outcome(name=errand.name, state="stopped")
    on_frame()
    return Outcome(name=errand.name, state="done", num_frames=1, error=os.environ.get("WHO"))
