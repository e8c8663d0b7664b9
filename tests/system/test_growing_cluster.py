"""A real cluster that begins with no node for training: nodes come for the jobs that wait, and go when these have ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from growing import GrowingCluster, until

from trainer.sinks.spool import SpoolReader
from trainer.wire import EventKind

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("nodes")]
TINY = {
    "arch.g_width": 8, "arch.d_width": 8, "train.batch": 16, "train.log_steps": 5, "data.decode_threads": 0,
    "samples.every_steps": 100_000, "checkpoint.every_steps": 100, "evaluation.samples": 64, "evaluation.metrics": ["kid"],
    "publish": None, "resources.workers": 2,
}  # fmt: skip
SHORT = TINY | {"train.images": 16 * 20}
ENDLESS = TINY | {"train.images": 16 * 1_000_000, "resources.min_workers": 1}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[GrowingCluster]:
    """Up to two nodes."""
    found = GrowingCluster(tmp_path, 2, max_nodes="small=2:1")
    try:
        found.start()
        yield found
    finally:
        found.stop()


def down(cluster: GrowingCluster) -> None:
    """Until no node is left."""
    end = time.monotonic() + 120
    while nodes := cluster.nodes():
        assert time.monotonic() < end, nodes
        time.sleep(0.5)


def groups(cluster: GrowingCluster, job: str) -> list[int]:
    """Workers of each group that has started."""
    events = SpoolReader(cluster.home / "jobs" / job).after(0, 100_000)
    return [event.data["workers"] for event in events if event.kind is EventKind.STARTED]


def test_jobs_make_the_cluster_grow_from_nothing_and_it_shrinks_to_nothing_again(cluster: GrowingCluster) -> None:
    assert cluster.nodes() == []
    with cluster.client() as client:
        too_large = client.submit(recipe="dcgan-digits", set=SHORT | {"resources.workers": 4}).id
        job = client.submit(recipe="dcgan-digits", set=SHORT).id
        reason = until(client, job, lambda found: "being started" in found.reason).reason
        assert reason in (
            "waits for 2 nodes that are being started (small)",
            "waits for 1 node that is being started (small)",
        )
        assert client.wait(job).state == "succeeded", client.logs(job, tail=60)
        assert "more than the cluster can ever have (2 CPUs)" in client.job(too_large).reason
        client.cancel(too_large)
        down(cluster)

        # An elastic job asks Ray for no placement group until its smallest group fits, and yet its nodes come.
        elastic = client.submit(recipe="dcgan-digits", set=ENDLESS).id
        until(client, elastic, lambda found: groups(cluster, elastic)[-1:] == [2])
        assert client.job(elastic).reason == ""
        client.cancel(elastic)
        assert client.wait(elastic).state == "cancelled"
        down(cluster)
