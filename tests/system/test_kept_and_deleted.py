"""What is kept, collected and deleted on a real stack: nothing goes that a pin, a fork or a version needs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedded import Stack
from test_forks import TINY, digest, ended

from service.client import Client, Invalid, NotFound

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("stack")]


def folder(stack: Stack, job: str) -> Path:
    return stack.layout.home / "jobs" / job


def at_rest(stack: Stack, job: str) -> None:
    """Wait until its driver is gone, some seconds after the run has ended: only then anything of it is collected or deleted."""
    stack.agon("logs", job, "--follow")


def saved(stack: Stack, job: str, place: str = "checkpoints") -> list[int]:
    """Steps of the complete checkpoints on the disk."""
    found = (folder(stack, job) / place).glob("step-*/manifest.json")
    return sorted(int(path.parent.name.removeprefix("step-")) for path in found)


def collected(stack: Stack, runs: Iterable[str], *options: str) -> list[dict[str, Any]]:
    """What `agon gc` tells of these runs: others' of this stack go, too."""
    items = json.loads(stack.agon("gc", "--json", *options).stdout)
    return [item for item in items if item["run"] in runs]


def record(stack: Stack, run: str) -> tuple[str, list[str]]:
    """Whether MLflow has a run or has deleted it; the artifacts that it has of it."""
    call = {"params": {"run_id": run}, "trust_env": False}
    about = httpx.get(f"{stack.mlflow}/api/2.0/mlflow/runs/get", **call).json()
    files = httpx.get(f"{stack.mlflow}/api/2.0/mlflow/artifacts/list", **call).json()
    return about["run"]["info"]["lifecycle_stage"], [item["path"] for item in files.get("files", [])]


def test_what_is_needed_stays_and_the_rest_is_collected_and_deleted(stack: Stack) -> None:
    with stack.client() as client:
        values = TINY | {
            "checkpoint.every_steps": 10,
            "resources.workers": 1,
            "publish": {"model": "kept", "metric": "kid"},
        }
        parent = ended(client, client.submit(recipe="dcgan-digits", set=values)).id
        at_rest(stack, parent)
        assert saved(stack, parent) == [10, 20, 30, 40, 50, 60]
        best = client.checkpoint(parent, "best").step
        stack.agon("owners", "cap", "admin", "--running", "0")
        fork = client.fork(parent, checkpoint=30, set={"publish": None}).id
        try:
            stack.agon("checkpoints", "pin", parent, "20")
            _collect(stack, client, parent, fork, best)
        finally:
            stack.agon("owners", "uncap", "admin")
        done = ended(client, client.job(fork))
        at_rest(stack, fork)
        started = next(event for event in client.events(fork) if event.kind == "started")
        assert (started.step, started.data["resumed_from"]) == (30, 30)
        assert digest(stack, fork, 60) == digest(stack, parent, 60), "it went on with what the parent has no more"
        assert done.mlflow_run_id is not None
        _delete(stack, client, parent, fork, done.mlflow_run_id)


def _collect(stack: Stack, client: Client, parent: str, fork: str, best: int) -> None:
    before = collected(stack, (parent, fork), "--dry-run")
    assert {item["what"] for item in before} == {"checkpoint"}
    gone = {10, 20, 30, 40, 50} - {best}
    assert {(item["run"], item["step"]) for item in before} == {(parent, step) for step in gone}
    assert all(item["reason"].startswith("superseded: of what has ended the newest stays") for item in before)
    freed = {item["step"] for item in before if item["bytes"]}
    assert freed == gone - {20, 30}, "what a pin or a fork holds, too, makes no room"
    assert saved(stack, parent) == [10, 20, 30, 40, 50, 60], "a dry run removes nothing"
    assert collected(stack, (parent, fork), "--yes") == before
    assert saved(stack, parent) == sorted({60, best}), "the version's, and the best"
    assert saved(stack, parent, "pinned") == [20]
    assert saved(stack, fork) == [30]
    assert collected(stack, (parent, fork), "--dry-run") == []
    assert [item.step for item in client.every_checkpoint(parent)] == sorted({20, 60, best}, reverse=True)
    refused = stack.agon("checkpoints", "delete", fork, "30", code=4)
    assert f"job {fork} goes on from its newest checkpoint" in refused.stderr


def _delete(stack: Stack, client: Client, parent: str, fork: str, theirs: str) -> None:
    own = client.job(parent).mlflow_run_id
    assert own is not None
    assert f"unpin them first: agon checkpoints unpin {parent} 20" in stack.agon("delete", parent, code=4).stderr
    stack.agon("checkpoints", "unpin", parent, "20")
    refused = stack.agon("delete", parent, "--mlflow", code=4).stderr
    assert "has the files of kept version 1 in MLflow" in refused
    assert folder(stack, parent).is_dir()
    assert record(stack, own)[0] == "active"
    stack.agon("delete", parent)
    assert not folder(stack, parent).exists()
    assert record(stack, own)[0] == "active", "the model is pulled from there"
    assert [item.version for item in client.model_versions("kept").items] == ["1"]
    assert client.lineage(fork).ancestors[0].id == parent

    stage, artifacts = record(stack, theirs)
    assert (stage, artifacts != []) == ("active", True)
    stack.agon("delete", fork, "--mlflow", "--yes")
    assert not folder(stack, fork).exists()
    assert record(stack, theirs) == ("deleted", [])
    for job in (parent, fork):
        with pytest.raises(NotFound):
            client.job(job)
    with pytest.raises(Invalid, match=f"no job '{parent}'"):
        client.fork(model="kept", mode="state")
