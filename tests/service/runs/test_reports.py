"""Events that a job reports."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties import examples

from service.bodies.runs import Failure, JobModel, Progress
from service.db.tables import JobEvent
from service.runs import ingest
from service.runs.fold import Report, fold
from trainer.wire import EventKind, WireEvent


def event(seq: int, name: str = "progress", attempt: int = 1, /, **data: Any) -> dict[str, Any]:
    when = datetime.now(UTC).isoformat()
    return {"seq": seq, "attempt": attempt, "time": when, "kind": name, "step": seq, "images": 64 * seq, "data": data}


@pytest.fixture
def job(world: Any) -> str:
    made: str = world.submit()
    world.round()
    return made


def story(length: int) -> list[dict[str, Any]]:
    told = [event(1, "started", total_images=1000), event(2, "tracked", mlflow_run_id="run1")]
    told += [event(seq, metrics={"loss": float(seq)}, images_per_second=10.0) for seq in range(3, length - 1)]
    return [
        *told,
        event(length - 1, "scores", scores={"fid": 3.0}),
        event(length, "published", model="m", version="2", champion=True, verdict="better"),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_repeated_and_shuffled_batches_leave_what_one_orderly_batch_leaves(world: Any, job: str, seed: int) -> None:
    events, dice = story(30), random.Random(seed)
    batches = [events[begin : begin + 5] for begin in range(0, 30, 3)] * 2
    dice.shuffle(batches)
    stored: set[int] = set()
    for batch in batches:
        reply = world.send(job, *dice.sample(batch, len(batch)))
        stored |= {item["seq"] for item in batch}
        gap = next(seq for seq in range(1, 32) if seq not in stored)
        assert reply.json() == {"acked": gap - 1, "desired": "run"}
    shown = world.job(job)
    assert shown["progress"] == {
        "step": 29, "images": 64 * 29, "total_images": 1000, "images_per_second": 10.0, "eta_seconds": None,
        "metrics": {"loss": 28.0}, "scores": {"fid": 3.0},
    }  # fmt: skip
    assert shown["model"] == {"name": "m", "version": "2", "champion": True, "verdict": "better"}
    assert shown["mlflow_run_id"] == "run1"


def test_what_lies_far_behind_a_gap_is_not_read_again_with_every_event(
    world: Any, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "WINDOW", 4)
    world.send(job, *(event(seq) for seq in range(3, 40)))
    read: list[int] = []
    sqlalchemy.event.listen(JobEvent, "load", lambda row, _: read.append(row.seq))
    assert world.send(job, event(1)).json()["acked"] == 1
    assert len(read) <= 4
    assert world.send(job, event(2)).json()["acked"] == 39


def test_nothing_behind_a_gap_is_shown_until_the_gap_is_filled(world: Any, job: str) -> None:
    world.send(job, event(1, "started", total_images=1000), event(3, metrics={"loss": 3.0}))
    assert world.job(job)["progress"]["step"] == 1
    assert world.send(job, event(2, metrics={"loss": 2.0})).json()["acked"] == 3
    assert world.job(job)["progress"]["metrics"] == {"loss": 3.0}


def test_an_event_that_is_known_is_not_replaced(world: Any, job: str) -> None:
    world.send(job, event(1, "started"), event(2, metrics={"loss": 1.0}))
    world.send(job, event(2, metrics={"loss": 9.0}), event(3, "warning", message="x"))
    assert world.job(job)["progress"]["metrics"] == {"loss": 1.0}


@pytest.mark.databases
def test_what_comes_in_order_is_applied_as_it_is_stored_without_being_read(
    world: Any, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[WireEvent] = []
    monkeypatch.setattr(ingest, "fold", lambda report, events: applied.extend(events) or fold(report, events))
    sent = story(20)
    sent[3]["time"] = "2026-03-29T02:30:00.123456+05:30"
    sent[4]["data"] = {
        "metrics": {"loss": 0.1 + 0.2, "tiny": 5e-324, "big": 2**62},
        "text": "é\u2028",
        "none": None,
        "list": [1, [2.0]],
    }
    world.send(job, *sent[:7])
    world.send(job, *sent[4:])
    with world.db.read() as session:
        stored = [ingest.wire(row) for row in session.scalars(sqlalchemy.select(JobEvent).order_by(JobEvent.seq))]
    assert [event.model_dump_json() for event in applied] == [event.model_dump_json() for event in stored]
    assert [event.time.isoformat() for event in applied] == [event.time.isoformat() for event in stored]
    assert len(stored) == 20
    monkeypatch.setattr(ingest, "_contiguous", lambda session, job: pytest.fail("it was read"))
    world.send(job, event(21), event(22))
    assert len(applied) == 22


@pytest.mark.parametrize("order", [(2, 1), (1, 1, 2), (1, 3)])
def test_what_comes_out_of_order_in_one_batch_is_read_as_it_is_stored(
    world: Any, job: str, order: tuple[int, ...]
) -> None:
    sent = [event(seq, metrics={"loss": float(place)}) for place, seq in enumerate(order)]
    reply = world.send(job, *sent).json()
    assert reply["acked"] == (1 if 3 in order else 2)
    with world.db.read() as session:
        stored = {row.seq: row.data["metrics"]["loss"] for row in session.scalars(sqlalchemy.select(JobEvent))}
    assert stored == {seq: float(order.index(seq)) for seq in set(order)}
    assert world.job(job)["progress"]["metrics"]["loss"] == stored[reply["acked"]]


def test_an_attempt_that_was_replaced_is_told_to_stop_and_changes_nothing(world: Any, job: str) -> None:
    from service.gateway.ray_jobs import RayStatus

    old = world.token(job)
    world.send(job, event(1, "started", total_images=1000))
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED, exit_code=-9)
    world.round()
    world.round(5)
    assert world.job(job)["attempt"] == 2
    reply = world.send(job, event(2, metrics={"loss": 666.0}), event(3, "finished", outcome="completed"), token=old)
    assert reply.json() == {"acked": 1, "desired": "stop"}
    assert world.send(
        job, event(2, "started", 2, total_images=1000), event(3, "progress", 2, metrics={"loss": 1.0})
    ).json() == {"acked": 3, "desired": "run"}
    world.round()
    assert world.job(job)["state"] == "running"
    assert world.job(job)["progress"]["metrics"] == {"loss": 1.0}


def test_an_old_attempts_undelivered_events_arrive_through_the_new_attempt(world: Any, job: str) -> None:
    from service.gateway.ray_jobs import RayStatus

    world.send(job, event(1, "started", total_images=1000))
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    world.round(5)
    reply = world.send(
        job, event(2, metrics={"loss": 2.0}), event(3, "failed", kind="internal", reason="old"), event(4, "started", 2)
    )
    assert reply.json()["acked"] == 4
    world.round()
    assert world.job(job)["state"] == "running", "the old attempt's failure is not the new one's"


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"attempt": 2}, "events.0.attempt"),
        ({"seq": 0}, "events.0.seq"),
        ({"time": "2026-01-01T00:00:00"}, "events.0.time"),
        ({"kind": "odd"}, "events.0.kind"),
        ({"extra": 1}, "events.0.extra"),
        ({"step": -1}, "events.0.step"),
    ],
)
def test_a_bad_event_is_named_and_nothing_of_its_batch_is_stored(
    world: Any, job: str, bad: dict[str, Any], path: str
) -> None:
    reply = world.send(job, {**event(1), **bad}, event(2))
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["path"] == path
    assert world.send(job, event(1)).json()["acked"] == 1


def test_a_batch_holds_at_most_500_events(world: Any, job: str) -> None:
    assert world.send(job, *[event(seq) for seq in range(1, 501)]).json()["acked"] == 500
    assert world.send(job, *[event(seq) for seq in range(1, 502)]).status_code == 422
    assert world.send(job).status_code == 422


def test_events_after_the_end_are_stored_but_change_no_state(world: Any, job: str) -> None:
    world.send(job, event(1, "started"), event(2, "finished", outcome="completed"))
    world.round()
    assert world.job(job)["state"] == "succeeded"
    assert world.send(job, event(3, "failed", kind="internal", reason="late")).json() == {"acked": 3, "desired": "stop"}
    world.round()
    assert (world.job(job)["state"], world.job(job)["failure"]) == ("succeeded", None)


ANY_EVENT = st.builds(
    lambda kind, attempt, data: (kind, attempt, data),
    st.sampled_from(EventKind),
    st.integers(1, 3),
    st.dictionaries(
        st.sampled_from(
            ["kind", "reason", "outcome", "metrics", "scores", "total_images", "model", "champion", "mlflow_run_id"]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text()
        | st.lists(st.integers())
        | st.dictionaries(st.text(), st.integers()),
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine the first draws take seconds
@given(st.lists(ANY_EVENT, max_size=20), st.integers(0, 20), st.integers(1, 3))
def test_folding_is_the_same_in_one_go_and_in_pieces_and_never_fails(events: list[Any], cut: int, attempt: int) -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    wires = [
        WireEvent(seq=i + 1, attempt=a, time=when, kind=k, step=i, images=i, data=d)
        for i, (k, a, d) in enumerate(events)
    ]
    whole = fold(Report(attempt), wires)
    assert fold(fold(Report(attempt), wires[:cut]), wires[cut:]) == whole
    if whole.outcome is not None:
        assert whole.outcome["attempt"] == attempt, "only the attempt that counts may end the job"


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00"])
def test_times_that_utc_does_not_have_are_wrong_fields(world: Any, time: str) -> None:
    job = world.running()
    reply = world.send(job, {**event(2, "progress"), "time": time}, {**event(3, "progress"), "time": time})
    assert reply.status_code == 422
    assert [error["path"] for error in reply.json()["errors"]] == ["events.0.time", "events.1.time"]


VALUES = st.one_of(
    *(st.none(), st.booleans(), st.text(max_size=5), st.just([1.5]), st.just({"a": {"b": None}})),
    *(
        st.integers(-(2**63) + 1, 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.just(0.5),
        st.just(1e308),
    ),
)
FIELDS = (
    *(
        "total_images",
        "images_per_second",
        "eta_seconds",
        "metrics",
        "scores",
        "model",
        "version",
        "champion",
        "verdict",
    ),
    *("kind", "reason", "outcome", "mlflow_run_id"),
)


@given(st.sampled_from(EventKind), st.fixed_dictionaries(dict.fromkeys(FIELDS, VALUES)))
@examples(300)
def test_whatever_a_job_says_of_itself_its_row_can_be_shown(kind: EventKind, data: dict[str, Any]) -> None:
    told = fold(Report(1), [WireEvent(seq=1, attempt=1, time=datetime.now(UTC), kind=kind, step=1, data=data)])
    for shown, value in ((Progress, told.progress), (JobModel, told.model)):
        assert value is None or shown.model_validate(value)
    if told.outcome is not None and told.outcome["result"] == "failed":
        assert Failure.model_validate({name: told.outcome[name] for name in ("kind", "reason")})


def test_a_number_of_images_that_is_none_hides_no_job_and_no_list(world: Any, job: str) -> None:
    world.send(job, event(1, "started", total_images=1000), event(2, total_images=0.5), event(3, total_images=1e308))
    assert world.job(job)["progress"]["total_images"] == 1000
    assert [item["id"] for item in world.client.get("/v1/jobs").json()["items"]] == [job]
