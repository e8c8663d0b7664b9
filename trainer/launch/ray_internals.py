"""What is used of Ray that it promises to nobody: all of it, why, and nowhere else.

>>> from trainer.launch.ray_internals import ElasticScalingPolicy

Each is imported when it is asked for, so that a process loads no more of Ray than it needs. One that an upgrade has moved is
an `InternalGoneError`, which says what was done with it; `tests/trainer/launch_ray/test_ray_internals.py` asks for all.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Internal(NamedTuple):
    """One of them."""

    module: str
    """Where it lies: a module, or a package that it is a module of."""
    why: str
    """What it is needed for, and why nothing public does."""
    members: tuple[str, ...] = ()
    """What of it is called, read or overridden."""


_TRAIN = "ray.train.v2._internal"
_SIZES = "an elastic job's workers divide the lanes; Ray's public settings know a range of sizes, not which of them"
_FAILURES = "a group that was told to end spends no restart; Ray has one public number for all failures"
_WARM = "processes are started ahead of a job; Ray starts them by a call of its raylet alone"
_TRIALS = (
    "a search says itself which values trial n has and what it is called; Tune's public searchers name trials anew"
)

INTERNALS: dict[str, Internal] = {
    "ElasticScalingPolicy": Internal(
        f"{_TRAIN}.execution.scaling_policy",
        _SIZES,
        (
            *("after_controller_start", "make_decision_for_running_worker_group", "_count_possible_workers"),
            "_get_num_workers_for_resource_request",
        ),
    ),
    "NoopDecision": Internal(f"{_TRAIN}.execution.scaling_policy", _SIZES),
    "ResizeDecision": Internal(f"{_TRAIN}.execution.scaling_policy", _SIZES),
    "state": Internal(
        "ray._private.state",
        "which nodes are being drained, and what is free of each, of which no public call tells",
        ("get_draining_nodes", "available_resources_per_node"),
    ),
    "DefaultFailurePolicy": Internal(f"{_TRAIN}.execution.failure_handling", _FAILURES, ("make_decision",)),
    "FailureDecision": Internal(f"{_TRAIN}.execution.failure_handling", _FAILURES, ("RETRY", "RAISE")),
    "WorkerGroupStartupFailedError": Internal(f"{_TRAIN}.exceptions", _FAILURES),
    "WorkerGroupStartupTimeoutError": Internal(f"{_TRAIN}.exceptions", _FAILURES),
    "get_train_context": Internal(
        f"{_TRAIN}.execution.context", "a notice is looked for after every step; the public call is a barrier"
    ),
    "PlacementGroupCleanerCallback": Internal(
        f"{_TRAIN}.callbacks.placement_group_callback",
        "its actor is one more process at a job's start; a driver's end gives back its places anyway",
    ),
    "GcsClient": Internal("ray._raylet", "a node is drained before its machine goes; no public call does"),
    "autoscaler_pb2": Internal("ray.core.generated", "the reason of a drain", ("DrainNodeReason",)),
    "init_grpc_channel": Internal("ray._private.grpc_utils", _WARM),
    "get_runtime_env_info": Internal("ray._private.utils", _WARM),
    "common_pb2": Internal("ray.core.generated", _WARM, ("Language",)),
    "node_manager_pb2": Internal("ray.core.generated", _WARM, ("PrestartWorkersRequest",)),
    "node_manager_pb2_grpc": Internal("ray.core.generated", _WARM, ("NodeManagerServiceStub",)),
    "get_or_create_autoscaling_coordinator": Internal(
        "ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator",
        "the first training of a cluster would wait for this actor of Ray Train's",
    ),
    "_make_parser": Internal("ray.tune.experiment.config_parser", _TRIALS),
    "_create_trial_from_spec": Internal("ray.tune.experiment.config_parser", _TRIALS),
}


class InternalGoneError(ImportError):
    """This version of Ray has it no more, or elsewhere."""


def find(name: str) -> Any:
    """One of `INTERNALS`, by name. Raises InternalGoneError."""
    module, why, members = INTERNALS[name]
    try:
        holder = import_module(module)
        found = getattr(holder, name) if hasattr(holder, name) else import_module(f"{module}.{name}")
    except ImportError as error:
        raise _gone(f"{module}.{name}", why) from error
    if missing := [member for member in members if not hasattr(found, member)]:
        raise _gone(f"{module}.{name}.{missing[0]}", why)
    return found


def _gone(what: str, why: str) -> InternalGoneError:
    import ray

    return InternalGoneError(
        f"Ray {ray.__version__} has no {what}. It is used because {why}. Find what has taken its place and change"
        " trainer/launch/ray_internals.py, or install the version of requirements.lock"
    )


def __getattr__(name: str) -> Any:
    if name in INTERNALS:
        return find(name)
    raise AttributeError(name)
