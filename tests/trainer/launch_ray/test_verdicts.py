"""Which failure explains the others, and what is tried again."""

import itertools
import pickle
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray.train
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from trainer.errors import NonFiniteError, WorkerFailedError, blame, heard, judge
from trainer.families.table import recipes
from trainer.launch.capacity import explain
from trainer.launch.ray_train import Verdicts, train_worker, verdict
from trainer.sinks.spool import SpoolReader
from trainer.spec import Resources, with_overrides
from trainer.wire import EventKind, FailureKind, JobFile

DEAD = WorkerHealthCheckFailedError("health check failed", RayActorError())
FULL = WorkerHealthCheckFailedError(
    "health check failed", OutOfMemoryError("Task was killed due to the node running low")
)
BUG = WorkerFailedError("internal", "IndexError: list index out of range")
DATA = WorkerFailedError("bad-data", "shard 3 was altered")
AWAY = WorkerFailedError("data-away", "shard 3: the server is away (HTTP 503)")


def test_kind_and_reason_survive_pickling_inside_rays_own_error() -> None:
    wrapped = pickle.loads(pickle.dumps(ControllerError(DATA)))
    assert verdict(wrapped) == (FailureKind.BAD_DATA, "shard 3 was altered")
    again = pickle.loads(pickle.dumps(WorkerFailedError("non-finite", "NaN", True, 3)))
    assert (again.echo, again.rank) == (True, 3)


def test_what_failed_while_a_worker_started_is_named_without_its_traceback() -> None:
    full = RayTaskError(
        "_join", "\x1b[36mray::execute\x1b[39m\n  File …", OSError(28, "No space left on device", "/data/x")
    )
    kind, reason = verdict(ControllerError(full.as_instanceof_cause()))
    assert kind is FailureKind.DISK_FULL
    assert reason == "a worker failed while it started: no space left on the device: /data/x"


def told(error: Exception) -> WorkerFailedError:
    """As a worker raises it."""
    found = judge(error)
    return WorkerFailedError(found.kind, found.reason, found.echo)


ECHO = told(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:41"))
NAN = told(NonFiniteError("net/D/running_var became NaN"))
HEARD = told(heard(FailureKind.NON_FINITE, "worker 0: net/D/running_var became NaN"))
TAKEN = WorkerFailedError("preempted", "worker 1: its node is being taken away")
CAUSES = [
    (NAN, "net/D/running_var became NaN"),
    (HEARD, "net/D/running_var became NaN"),
    (FULL, "was ended by Ray because its node's memory was full"),
    (TAKEN, "its node is being taken away"),
    (AWAY, "the server is away"),
    (DEAD, "was lost"),
    (BUG, "list index out of range"),
    (ECHO, "lost its connection to another one"),
]
"""Each explains those behind it."""


@pytest.mark.parametrize("cause", range(len(CAUSES)))
def test_the_cause_wins_every_race_whichever_ranks_failed_and_whoever_is_heard_first(cause: int) -> None:
    error, words = CAUSES[cause]
    for behind in range(cause, len(CAUSES)):
        for ranks in itertools.permutations(range(3)):
            failures = dict(zip(ranks, [error, CAUSES[behind][0], ECHO], strict=True))
            found = blame(failures)
            assert found.kind is judge(error).kind
            assert words in found.reason


@given(st.permutations(CAUSES), st.integers(1, len(CAUSES)))
def test_an_echo_is_never_told_where_its_cause_is_known(order: list[tuple[Exception, str]], count: int) -> None:
    failures = {rank: error for rank, (error, _) in enumerate(order[:count])}
    best = min(CAUSES.index(each) for each in order[:count])
    assert CAUSES[best][1] in blame(failures).reason
    assert blame(dict(reversed(failures.items()))) == blame(failures)


def test_what_a_rank_only_heard_of_is_told_with_the_rank_that_it_is_of() -> None:
    assert blame({1: HEARD}).reason == "worker 0: net/D/running_var became NaN"
    assert blame({1: HEARD, 0: NAN}).reason == "worker 0: net/D/running_var became NaN"
    assert blame({1: HEARD}).kind is FailureKind.NON_FINITE


@pytest.mark.parametrize(
    "text",
    [
        "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:41",
        "Connection reset by peer",
        "NCCL error: remote process exited or there was a network error",
        "recvValue failed on SocketImpl(fd=9): failed to recv, got 0 bytes. Connection was likely closed.",
        "[gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation to complete",
    ],
)
def test_ranks_that_merely_lost_one_another_are_the_clusters_trouble(text: str) -> None:
    found = blame({0: told(RuntimeError(text)), 1: told(RuntimeError(text))})
    assert found.kind is FailureKind.CLUSTER_FAILED
    assert found.echo
    assert found.reason.startswith("worker 0 lost its connection to another one")
    assert not judge(RuntimeError("mat1 and mat2 shapes cannot be multiplied")).echo


def test_the_rank_whose_log_says_more_is_named_and_none_that_only_heard_of_it() -> None:
    assert [blame(failures).rank for failures in ({0: ECHO, 1: DEAD}, {2: NAN, 0: HEARD}, {1: HEARD}, {0: ECHO})] == [
        1, 2, None, None,
    ]  # fmt: skip
    assert judge(pickle.loads(pickle.dumps(ControllerError(WorkerFailedError("non-finite", "NaN", rank=2))))).rank == 2
    assert judge(WorkerGroupError("", {0: ECHO, 1: DEAD})).rank == 1


def test_ranks_that_never_found_one_another_are_the_clusters_trouble() -> None:
    server = TCPStore("127.0.0.1", 0, 1, True, wait_for_workers=False)
    with pytest.raises(RuntimeError, match="timeout") as late:
        server.wait(["of a rank that never came"], timedelta(milliseconds=10))
    found = judge(late.value)
    assert (found.kind, found.echo) == (FailureKind.CLUSTER_FAILED, True)
    wrapped = RayTaskError("_join", "Traceback …", late.value)
    assert verdict(ControllerError(wrapped.as_instanceof_cause()))[0] is FailureKind.CLUSTER_FAILED
    assert blame({0: told(late.value), 1: BUG}).kind is FailureKind.INTERNAL, (
        "a bug that kept a rank from coming is the cause"
    )


@pytest.mark.parametrize("kind", sorted(kind for kind in FailureKind if kind.final))
def test_what_another_try_would_repeat_ends_the_run(tmp_path: Path, kind: FailureKind) -> None:
    verdicts = Verdicts(str(tmp_path), 1, 3)
    with pytest.raises(WorkerFailedError) as caught:
        verdicts.after_exception(None, {1: WorkerFailedError(kind, "because"), 0: ECHO})
    assert (caught.value.kind, caught.value.rank) == (kind, 1)
    assert not SpoolReader(tmp_path).after(0, 10)


def test_a_worker_that_rays_memory_monitor_ended_is_not_started_again(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailedError, match=r"worker 1 .*running low.*train\.micro_batch") as caught:
        Verdicts(str(tmp_path), 1, 3).after_exception(None, {0: ECHO, 1: FULL})
    assert caught.value.kind is FailureKind.OUT_OF_MEMORY


def test_a_lost_worker_is_restarted_and_every_restart_is_reported(tmp_path: Path) -> None:
    verdicts = Verdicts(str(tmp_path), 2, 2)
    for _ in range(3):  # the third is beyond the budget: Ray Train gives up by itself
        verdicts.after_exception(None, {0: DEAD})
    events = SpoolReader(tmp_path).after(0, 10)
    assert [(event.kind, event.attempt, event.data["rank"]) for event in events] == [(EventKind.RESTARTED, 2, 0)] * 2


def test_the_same_internal_error_twice_in_a_row_is_a_bug_and_ends_the_run(tmp_path: Path) -> None:
    verdicts = Verdicts(str(tmp_path), 1, 5)
    verdicts.after_exception(None, {0: BUG})
    verdicts.after_exception(None, {0: DEAD})
    verdicts.after_exception(None, {0: BUG})
    with pytest.raises(WorkerFailedError, match="out of range"):
        verdicts.after_exception(None, {0: BUG})


def test_connections_that_break_again_and_again_are_no_bug(tmp_path: Path) -> None:
    verdicts = Verdicts(str(tmp_path), 1, 5)
    for _ in range(4):
        verdicts.after_exception(None, {0: ECHO})
    assert len(SpoolReader(tmp_path).after(0, 10)) == 4


def test_used_up_restarts_are_named_as_such() -> None:
    kind, reason = verdict(WorkerGroupError("", {0: ECHO, 1: DEAD}))
    assert kind is FailureKind.WORKER_LOST
    assert "worker 1 was lost" in reason
    assert "used up" in reason


@pytest.mark.parametrize(
    ("resources", "free", "total", "words"),
    [
        (Resources(workers=2), {"CPU": 1.0}, {"CPU": 2.0}, "needs 2 CPUs; 1 of 2 is free"),
        (Resources(workers=1), {}, {"CPU": 2.0}, "needs 1 CPU; 0 of 2 are free"),
        (Resources(workers=4), {"CPU": 2.0}, {"CPU": 2.0}, "needs 4 CPUs; the cluster has 2 in all"),
        (
            Resources(workers=2, gpus_per_worker=1),
            {"CPU": 8.0, "GPU": 1.0},
            {"CPU": 8.0, "GPU": 4.0},
            "needs 2 GPUs; 1 of 4 is free",
        ),
        (
            Resources(workers=2, cpus_per_worker=4),
            {"CPU": 8.0},
            {"CPU": 8.0},
            "needs 2 × 4 CPUs, each on one node; enough is free, but not together",
        ),
    ],
)
def test_a_job_that_waits_says_for_what(
    resources: Resources, free: dict[str, float], total: dict[str, float], words: str
) -> None:
    assert explain(resources, free, total) == words


@pytest.mark.parametrize("world", [1, 3, 8])
def test_a_worker_count_that_the_spec_does_not_allow_is_refused(
    tmp_path: Path, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = with_overrides(
        recipes()["gan-digits"](), ["resources.workers=4", "resources.min_workers=2", "data.lanes=8", "train.batch=64"]
    )
    job = JobFile(job_id="j", attempt=1, spec=spec, job_dir=str(tmp_path), cache_dir=str(tmp_path))
    (tmp_path / "job.json").write_text(job.model_dump_json())
    monkeypatch.setattr(ray.train, "get_context", lambda: SimpleNamespace(get_world_size=lambda: world))
    with pytest.raises(WorkerFailedError, match=f"{world} workers.* allow 2 or 4") as caught:
        train_worker({"job_file": str(tmp_path / "job.json")})
    assert caught.value.kind is FailureKind.BAD_SPEC
