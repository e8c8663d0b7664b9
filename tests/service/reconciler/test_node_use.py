"""What is used of nodes, whichever of Ray's two autoscalers tells it."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.autoscaler._private.util import parse_usage

from service.gateway import node_use
from service.gateway.ray_jobs import HttpRayJobs

GROUP = "0123456789abcdef0123456789abcdef0123"
NODE = {
    "node_id": "aa", "state": "ALIVE", "is_head_node": True, "labels": {"ray.io/node-group": "headgroup"},
    "resources_total": {"CPU": 4.0, "memory": 8.0 * 2**30, "node:__internal_head__": 1.0},
}  # fmt: skip
LISTED = {"result": True, "data": {"result": {"result": [NODE]}}}
FIRST = {"loadMetricsReport": {"usageByNode": {"aa": {"CPU": [3.0, 4.0], "memory": [2.0**30, 2.0**33]}}}}
SECOND = {"aa": "1.0/4.0 CPU (0.0 used of 1.0 reserved in placement groups)\n1.0/1.0 GPU\n1.00GiB/8.00GiB memory"}


def ray(status: object, summary: object) -> HttpRayJobs:
    """A dashboard that says so."""
    answers = {"/api/v0/nodes": LISTED, "/api/cluster_status": {"data": status}, "/nodes": {"data": summary}}
    found = HttpRayJobs("http://ray.invalid")
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answers[request.url.path]))
    found._client = httpx.Client(base_url="http://ray.invalid", transport=transport)
    return found


@pytest.mark.parametrize(
    ("status", "summary", "free"),
    [({"clusterStatus": FIRST}, {}, 1.0), ({"clusterStatus": None}, {"nodeLogicalResources": SECOND}, 2.0)],
)
def test_what_is_free_is_known_by_either_autoscaler(status: object, summary: object, free: float) -> None:
    """KubeRay's is the second: nothing but the dashboard's text tells of it, and without it a full cluster would seem to be idle."""
    (node,) = ray(status, summary).nodes()
    assert (node.cpus_free, node.memory_free) == (free, 7 * 2.0**30)
    assert (node.head, node.group) == (True, "headgroup")


def test_before_the_autoscaler_has_said_anything_all_is_free() -> None:
    (node,) = ray({"clusterStatus": None}, {"nodeLogicalResources": {}}).nodes()
    assert node.cpus_free == 4


amounts = st.sampled_from([0.0, 0.5, 1.0, 3.0, 64.0])


@given(amounts, amounts, amounts, amounts)
def test_the_text_means_what_ray_made_it_of(outside: float, reserved: float, inside: float, free: float) -> None:
    """What a placement group reserves is used, whether or not its workers run."""
    inside = min(inside, reserved)
    usage = {
        "CPU": (outside + reserved, outside + reserved + free),
        f"CPU_group_{GROUP}": (inside, reserved),
        "accelerator_type:H100": (0.0, 1.0),
    }
    if not reserved:
        del usage[f"CPU_group_{GROUP}"]
    text = "\n".join(parse_usage(usage, verbose=True))
    assert node_use.of_text({"aa": text})["aa"]["CPU"] == outside + reserved
