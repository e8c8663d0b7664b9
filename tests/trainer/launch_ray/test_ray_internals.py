"""What is used of Ray's internals is there, as it is used; an upgrade that moves it is met here, with the reason."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import ray

import trainer
from trainer.launch import ray_internals
from trainer.launch.ray_internals import INTERNALS, Internal, InternalGoneError, find

ROOT = Path(trainer.__file__).parent
PRIVATE = re.compile(r"^\s*(?:from|import) ray[\w.]*(?:\._|\.core\.generated)|\bray(?:\.\w+)*\._\w+", re.MULTILINE)


@pytest.mark.parametrize("name", INTERNALS)
def test_an_internal_of_ray_is_where_it_was(name: str) -> None:
    assert find(name) is getattr(ray_internals, name)


def test_what_an_upgrade_has_moved_is_named_with_what_it_was_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Internal("ray.train.v2._internal.execution.scaling_policy", "sizes divide the lanes")
    monkeypatch.setitem(INTERNALS, "BestPolicy", gone)
    message = f"Ray {ray.__version__} has no ray.train.v2._internal.execution.scaling_policy.BestPolicy"
    with pytest.raises(InternalGoneError, match=f"^{re.escape(message)}.*sizes divide the lanes.*ray_internals.py"):
        ray_internals.BestPolicy  # noqa: B018
    monkeypatch.setitem(INTERNALS, "state", INTERNALS["state"]._replace(members=("get_lost_nodes",)))
    with pytest.raises(InternalGoneError, match=r"ray\._private\.state\.state\.get_lost_nodes"):
        ray_internals.state  # noqa: B018


def test_what_is_called_takes_what_it_is_given() -> None:
    """The shapes on which our calls and overrides rest."""
    policy, failures = find("ElasticScalingPolicy"), find("DefaultFailurePolicy")
    assert [*inspect.signature(policy._count_possible_workers).parameters] == ["self", "reserved_resources"]
    running = inspect.signature(policy.make_decision_for_running_worker_group)
    assert [*running.parameters] == ["self", "worker_group_state", "worker_group_status"]
    assert [*inspect.signature(failures.make_decision).parameters] == ["self", "training_failed_error"]
    assert hasattr(ray._raylet.InnerGcsClient, "drain_node"), "what GcsClient hands its calls on to"
    request = find("node_manager_pb2").PrestartWorkersRequest
    wanted = {"language", "keep_alive_duration_secs", "num_workers", "runtime_env_info"}
    assert wanted <= {field.name for field in request.DESCRIPTOR.fields}
    service = find("node_manager_pb2").DESCRIPTOR.services_by_name["NodeManagerService"]
    assert "PrestartWorkers" in service.methods_by_name
    assert "DRAIN_NODE_REASON_PREEMPTION" in find("autoscaler_pb2").DrainNodeReason.DESCRIPTOR.values_by_name


def test_nothing_else_of_the_trainer_uses_rays_internals() -> None:
    users = {
        str(path.relative_to(ROOT)): found
        for path in ROOT.rglob("*.py")
        if path != Path(ray_internals.__file__) and (found := PRIVATE.findall(path.read_text()))
    }
    assert users == {}
    text = "from ray.train.v2._internal.exceptions import X\n    from ray.core.generated import y\nray._private.state.state.z()"
    assert len(PRIVATE.findall(text)) == 3
