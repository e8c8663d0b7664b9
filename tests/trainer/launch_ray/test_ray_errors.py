"""Every exception of Ray is classified, and what the cluster did is tried again."""

import builtins
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import ray._raylet
import ray.exceptions
from ray.exceptions import ActorDiedError, ActorUnschedulableError, GetTimeoutError, RayTaskError
from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import InsufficientClusterResourcesError, WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from trainer.errors import BadDataError, WorkerFailedError, classify
from trainer.launch.preempt import Patience
from trainer.ray_errors import INSIDE, TABLE, row
from trainer.sinks.spool import SpoolReader
from trainer.wire import EventKind, FailureKind

ROOT = Path(ray.__file__).parent
PACKAGES = ("train", "tune", "air", "util/state")
CLASS = re.compile(r"^class\s+(\w+)\s*\(([^)]*)\)\s*:", re.MULTILINE)
NOT_SHIPPED = {"tests", "examples", "test_utils"}
FIVE_TRIES = ActorUnschedulableError("Failed to startup worker after retrying 5 times")


def _exceptions_of(module: object) -> set[str]:
    found = inspect.getmembers(module, inspect.isclass)
    return {
        f"{cls.__module__}.{cls.__qualname__}"
        for _, cls in found
        if issubclass(cls, BaseException) and not issubclass(cls, Warning) and cls.__module__.startswith("ray.")
    }


def _exceptions_below(package: str) -> set[str]:
    """By the text of its modules: importing all of them needs what isn't installed."""
    known = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
    known -= {name for name in known if name.endswith("Warning")}
    known |= {name.rpartition(".")[2] for name in _exceptions_of(ray.exceptions)}
    classes = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not NOT_SHIPPED & set(parts):
            for name, bases in CLASS.findall(path.read_text()):
                classes[".".join(("ray", *parts, name))] = {
                    base.strip().rpartition(".")[2] for base in bases.split(",")
                }
    found = set[str]()
    while new := {name for name, bases in classes.items() if name not in found and bases & known}:
        found |= new
        known |= {name.rpartition(".")[2] for name in new}
    return found


def test_every_exception_that_the_installed_ray_can_raise_is_in_the_table() -> None:
    defined = _exceptions_of(ray.exceptions) | _exceptions_of(ray._raylet)
    for package in PACKAGES:
        below = _exceptions_below(package)
        assert below, f"{package} moved"
        defined |= below
    assert len(defined) > 60
    names = {name.rpartition(".")[2] for name in defined}
    assert names - TABLE.keys() == set(), "say what these mean for a job: trainer/ray_errors.py"
    assert TABLE.keys() - names == {"RpcError"} - names, "Ray no longer has these"


def test_the_table_needs_neither_ray_nor_torch() -> None:
    code = "import sys, trainer.errors; sys.exit(bool({'ray', 'torch', 'grpc'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(name for name, fault in TABLE.items() if fault and fault.kind.retryable))
def test_what_the_cluster_did_has_words_and_is_tried_again(name: str) -> None:
    error = type(name, (Exception,), {"__module__": "ray.somewhere"})(
        "details\n\tactor_id: 5f\n\tpid: 7\nIts node died"
    )
    kind, reason = classify(error)
    assert kind in (FailureKind.CLUSTER_FAILED, FailureKind.WORKER_LOST)
    assert kind.retryable
    assert reason == f"{TABLE[name].words}: details Its node died"  # type: ignore[union-attr]


def test_a_class_that_the_table_lacks_counts_as_its_nearest_base() -> None:
    class NewerError(ActorDiedError):
        pass

    assert row(NewerError()) == (True, TABLE["ActorDiedError"])
    assert row(ValueError()) == (False, INSIDE)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ControllerError(FIVE_TRIES), FailureKind.CLUSTER_FAILED, "a worker could not be started: .*retrying 5 times"),
        (ControllerError(GetTimeoutError("late")), FailureKind.CLUSTER_FAILED, "Ray did not answer in time: late"),
        (
            ControllerError(InsufficientClusterResourcesError("only 2 CPUs")),
            FailureKind.NO_CAPACITY,
            "too small .*only 2 CPUs",
        ),
        (WorkerGroupError("", {0: BadDataError("shard 3")}), FailureKind.BAD_DATA, "^shard 3$"),
        (WorkerGroupError("", {1: FIVE_TRIES}), FailureKind.CLUSTER_FAILED, "^worker 1 could not be started"),
        (
            RayTaskError("f", "trace", ValueError("ours")).as_instanceof_cause(),
            FailureKind.INTERNAL,
            "^ValueError: ours",
        ),
        (RayTaskError("f", "trace", BadDataError("shard 3")), FailureKind.BAD_DATA, "^shard 3$"),
        (WorkerHealthCheckFailedError("", ActorDiedError()), FailureKind.WORKER_LOST, "^a worker was lost: The actor"),
        (ControllerError(WorkerFailedError("bad-spec", "no")), FailureKind.BAD_SPEC, "^no$"),
    ],
)
def test_what_ray_carries_is_what_counts(error: Exception, kind: FailureKind, reason: str) -> None:
    found = classify(error)
    assert found[0] is kind
    assert re.search(reason, found[1])


def test_a_start_that_the_cluster_broke_is_tried_again_within_its_budget_and_told(tmp_path: Path) -> None:
    patience = Patience(FailureConfig(max_failures=2, controller_failure_limit=2), str(tmp_path), 1)
    decisions = [patience.make_decision(ControllerError(FIVE_TRIES)) for _ in range(3)]
    assert decisions == [FailureDecision.RETRY, FailureDecision.RETRY, FailureDecision.RAISE]
    events = SpoolReader(tmp_path).after(0, 10)
    assert [event.kind for event in events] == [EventKind.RESTARTED] * 2
    assert "retrying 5 times" in events[0].data["reason"]


@pytest.mark.parametrize(
    "failure",
    [WorkerFailedError("worker-lost", "the callback's word is final"), ValueError("a bug"), BadDataError("shard 3")],
)
def test_what_no_start_would_mend_ends_the_run(failure: Exception, tmp_path: Path) -> None:
    patience = Patience(FailureConfig(max_failures=2, controller_failure_limit=2), str(tmp_path), 1)
    assert patience.make_decision(ControllerError(failure)) is FailureDecision.RAISE
    assert not SpoolReader(tmp_path).after(0, 10)


def test_an_error_that_is_its_own_cause_ends() -> None:
    odd = ValueError("round")
    odd.__cause__ = odd
    assert classify(odd) == (FailureKind.INTERNAL, "ValueError: round")
    assert classify(SimpleNamespaceError()) == (FailureKind.INTERNAL, "SimpleNamespaceError: x")


class SimpleNamespaceError(Exception):
    """Its attributes have the names that Ray's have, and other types."""

    cause = SimpleNamespace()
    worker_failures = None

    def __str__(self) -> str:
        return "x"
