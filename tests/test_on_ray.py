"""The engine of a cluster: two nodes on this machine, of which one is lost. ``make test-ray``."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from batches import DEFAULTS, Slow, make_batch, results, run_batch, states

from vos.batch.do_job import BatchSettings, JobWorker
from vos.batch.manifest import open_manifest
from vos.batch.on_ray import ray_engine
from vos.batch.pending import Pending
from vos.batch.worker import WorkerSettings

pytestmark = pytest.mark.ray


class Noting(Slow):
    """A model loader that notes the process and node it is called on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, choice):
        import ray

        node = ray.get_runtime_context().get_node_id()
        (self.folder / str(os.getpid())).write_text(node)
        end = time.monotonic() + 60
        while len([*self.folder.iterdir()]) < 2 and time.monotonic() < end:
            time.sleep(0.05)  # until the other is there: it is to have jobs too
        return super().__call__(choice)

    def nodes(self) -> dict[int, str]:
        """Nodes of the processes that there are, by their ids."""
        found = {int(path.name): path.read_text() for path in self.folder.iterdir()}
        return {pid: node for pid, node in found.items() if Path(f"/proc/{pid}").exists()}


@pytest.fixture
def cluster(monkeypatch) -> Iterator:
    import ray
    from ray.cluster_utils import Cluster

    # What is sent to the actors is defined in modules of the tests.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.wait_for_nodes()
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def after_a_while(action) -> None:
    """Do something in the middle of the next job."""
    threading.Timer(0.3, action).start()


def test_a_lost_node_and_a_killed_actor_cost_no_job(cluster, tmp_path):
    cluster, second = cluster
    manifest, out = make_batch(tmp_path, 8, bad=(4,), num_frames=4), tmp_path / "out"
    run_batch(manifest, tmp_path / "local")
    (tmp_path / "pids").mkdir()
    noting = Noting(tmp_path / "pids")
    settings = BatchSettings(
        out=str(out),
        scratch=tmp_path / "scratch",
        worker=WorkerSettings(load_model=noting),
        save_every_seconds=0,
    )
    pending = Pending(
        open_manifest(str(manifest), DEFAULTS).tasks(), retry_seconds=0.01, poll_seconds=0.2
    )
    engine, num_threads = ray_engine(None, num_threads=None, device="auto")
    assert (engine.keywords["num_actors"], num_threads) == (2, 1)
    outcomes, nodes = {}, set()
    is_lost = is_killed = False
    for outcome in engine(pending, partial(JobWorker, settings)):
        outcomes[outcome.name] = outcome
        there = noting.nodes()
        nodes |= {*there.values()}
        if len(nodes) == 2 and not is_lost:
            after_a_while(lambda: cluster.remove_node(second, allow_graceful=False))
            is_lost = True
        elif is_lost and not is_killed:
            left = [pid for pid, node in there.items() if node != second.node_id]
            after_a_while(partial(os.kill, left[0], signal.SIGKILL))
            is_killed = True
    assert is_killed
    assert states(outcomes) == {"done": 7, "failed": 1}
    assert outcomes["clip004"].error_kind == "MaskError"
    assert sum(outcome.num_tries > 1 for outcome in outcomes.values()) >= 2
    assert results(out) == results(tmp_path / "local")
