"""The engine of a cluster: two nodes on this machine, of which one is lost. ``make test-ray``."""

from functools import partial

import pytest
from batches import DEFAULTS, Slow, make_batch, results, run_batch, states

from vos.batch.do_job import BatchSettings, JobWorker
from vos.batch.manifest import open_manifest
from vos.batch.on_ray import ray_engine
from vos.batch.pending import Pending

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster():
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_lost_node_and_a_killed_actor_cost_no_job(cluster, tmp_path):
    import ray
    from ray.util.state import list_actors

    manifest, out = make_batch(tmp_path, 10, bad=(4,), num_frames=4), tmp_path / "out"
    run_batch(manifest, tmp_path / "local")
    settings = BatchSettings(
        out=str(out), scratch=tmp_path / "scratch", load_model=Slow(), save_every_seconds=0
    )
    tasks = open_manifest(str(manifest), DEFAULTS).tasks()
    pending = Pending(tasks, retry_seconds=0.01, poll_seconds=0.2)
    engine, num_threads = ray_engine(None, num_threads=None, device="auto")
    assert num_threads == 1
    assert engine.keywords["num_actors"] == 2
    outcomes = {}
    nodes, lost = set(), False
    for outcome in engine(pending, partial(JobWorker, settings)):
        outcomes[outcome.name] = outcome
        actors = list_actors(filters=[("state", "=", "ALIVE")])
        nodes |= {actor.node_id for actor in actors}
        if len(outcomes) == 3:
            cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
            lost = True
        if len(outcomes) == 6:
            (actor, *_) = actors
            import os
            import signal

            os.kill(actor.pid, signal.SIGKILL)
    assert lost
    assert len(nodes) == 2
    assert states(outcomes) == {"done": 9, "failed": 1}
    assert outcomes["clip004"].error_kind == "MaskError"
    assert sum(outcome.num_tries > 1 for outcome in outcomes.values()) >= 1
    assert results(out) == results(tmp_path / "local")
    assert ray.is_initialized()
