"""Forks on a real stack: the exact continuation at two workers, weights in other nets, and a registered version's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest
from embedded import Stack

from service.client import Client, Invalid, Job

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("stack"),
]
TINY = {
    "arch.g_width": 8, "arch.d_width": 8, "train.batch": 16, "train.log_steps": 5, "data.decode_threads": 0,
    "samples.every_steps": 50, "checkpoint.every_steps": 20, "evaluation.samples": 64, "evaluation.metrics": ["kid"],
    "train.images": 16 * 60, "checkpoint.keep_last": 9, "publish": {"model": "forked", "metric": "kid"},
}  # fmt: skip


def digest(stack: Stack, job: str, step: int) -> str:
    path: Path = stack.layout.home / "jobs" / job / "checkpoints" / f"step-{step:09d}" / "state.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ended(client: Client, job: Job) -> Job:
    found = client.wait(job.id)
    assert found.state == "succeeded", f"{found.failure}\n{client.logs(job.id, tail=60)}"
    return found


def refused(client: Client, parent: str, changes: dict[str, object]) -> str:
    """Why nets don't fit: told at once or, where this machine was too busy to know in time, by the driver."""
    try:
        job = client.wait(client.fork(parent, mode="weights", set=changes).id)
    except Invalid as error:
        return "; ".join(each.line() for each in error.errors)
    assert job.failure is not None
    assert job.failure.kind == "bad-spec"
    assert job.progress is None, "nothing was trained"
    return job.failure.reason


def test_forks_of_a_state_of_weights_and_of_a_model(stack: Stack) -> None:
    with stack.client() as client:
        parent = ended(client, client.submit(recipe="dcgan-digits", set=TINY | {"resources.workers": 2}))
        same = ended(client, client.fork(parent.id, checkpoint=40, set={"publish": None}))
        assert digest(stack, same.id, 60) == digest(stack, parent.id, 60)
        assert not (stack.layout.home / "jobs" / same.id / "checkpoints" / "step-000000020").exists()
        started = next(event for event in client.events(same.id) if event.kind == "started")
        assert (started.step, started.images, started.data["resumed_from"]) == (40, 640, 40)

        assert "D/" in refused(client, parent.id, {"arch.d_width": 12})
        wider = client.fork(
            model="forked",
            mode="weights",
            restart=["changed"],
            set={"arch.d_width": 12, "train.images": 320, "objective.loss": "hinge", "resources.workers": 1},
        )
        assert (wider.fork and wider.fork.model, wider.fork and wider.fork.step) == ("forked/1", 60)
        wider = ended(client, wider)
        told = [event.data["message"] for event in client.events(wider.id) if event.kind == "warning"]
        assert any(text.startswith("these start anew: D/") for text in told), told
        children = [item.id for item in client.lineage(parent.id).children if item.state == "succeeded"]
        assert children == [wider.id, same.id]

        (second, _) = client.model_versions("forked").items
        assert f"| began with | the weights of {parent.id} at step 60 (960 images)" in second.description

        run = httpx.get(
            f"{stack.mlflow}/api/2.0/mlflow/runs/get", params={"run_id": wider.mlflow_run_id}, trust_env=False
        )
        tags = {tag["key"]: tag["value"] for tag in run.json()["run"]["data"]["tags"]}
        assert (tags["agon.parent"], tags["agon.fork.mode"], tags["agon.fork.offset"]) == (parent.id, "weights", "960")
        assert tags["agon.fork.model"] == "forked/1"
