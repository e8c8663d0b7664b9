"""Trials, as their events make them; and stopping one."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from checkpoints import save
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import delete, update

from service.db.session import Database
from service.db.tables import Job, Trial
from service.gateway.ray_jobs import Node, RayStatus
from service.runs import ingest
from trainer.nodes import NodeShape
from trainer.wire import EventKind, WireEvent

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def told(number: int, score: float | None = None, step: int = 10, **fields: Any) -> dict[str, Any]:
    result = {"step": step, "images": 64 * step, "value": score, "score": score, "spread": 0.5, "seconds": 1.0}
    usual = {
        "id": f"t-{number:05d}", "number": number, "state": "running", "values": {"optimizers.G.lr": 0.5}, "images": 64 * step,
        "seconds": 1.0, "result": result if score is not None else None,
    }  # fmt: skip
    return {**usual, **fields}


def event(seq: int, data: dict[str, Any], kind: str = "trial") -> dict[str, Any]:
    return {"seq": seq, "attempt": 1, "time": WHEN.isoformat(), "kind": kind, "step": 0, "images": 0, "data": data}


def test_trials_are_ranked_by_their_smoothed_score_and_what_diverged_or_failed_never_wins(searches: Any) -> None:
    search = searches.running()
    searches.trial(search, 0, score=5.0)
    searches.trial(search, 1, score=1.0)
    searches.trial(search, 1, score=1.0, state="diverged", reason="G/loss is NaN at step 20")
    searches.trial(search, 2, score=2.0)
    searches.trial(search, 2, score=2.0, state="failed", reason="its worker died 3 times")
    searches.trial(search, 3)
    searches.trial(search, 4, score=3.0, state="stopped", reason="ASHA")
    shown = searches.show(search)
    assert (shown["best"]["id"], shown["best"]["score"], shown["best"]["spread"]) == ("t-00004", 3.0, 0.5)
    assert shown["trials"] == {"running": 2, "diverged": 1, "failed": 1, "stopped": 1}
    assert shown["images"] == 5 * 640
    listed = searches.trials(search)
    assert [item["number"] for item in listed] == [4, 0, 1, 2, 3]
    assert [item["score"] for item in listed] == [3.0, 5.0, None, 2.0, None]
    assert listed[2]["reason"] == "G/loss is NaN at step 20"
    assert [item["number"] for item in searches.trials(search, order="number")] == [0, 1, 2, 3, 4]
    assert [item["number"] for item in searches.trials(search, state="running")] == [0, 3]


@pytest.mark.parametrize(
    ("fields", "best"),
    [({"metric": "fid"}, 1), ({"metric": "precision"}, 0), ({"metric": "precision", "mode": "min"}, 1), ({"metric": "fid", "mode": "max"}, 0)],
)  # fmt: skip
def test_the_best_is_low_or_high_as_the_metric_and_mode_say(searches: Any, fields: dict[str, Any], best: int) -> None:
    base = {"recipe": "dcgan-digits", "set": {"evaluation.metrics": ["fid", "precision"]}}
    search = searches.running(base=base, **fields)
    searches.trial(search, 0, score=0.9)
    searches.trial(search, 1, score=0.1)
    assert searches.show(search)["best"]["number"] == best
    assert [item["number"] for item in searches.trials(search)] == [best, 1 - best]


def test_pages_of_trials_cover_all_of_them(searches: Any, world: Any) -> None:
    search = searches.running()
    for number in range(5):
        searches.trial(search, number, score=float(number % 2))
    seen, cursor = [], None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = world.client.get(f"/v1/searches/{search}/trials", params=params).json()
        seen += [item["number"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [0, 2, 4, 1, 3]


def test_results_collect_and_steps_that_are_scored_anew_replace_what_was_said_of_them(searches: Any) -> None:
    search = searches.running()
    for step, score in ((10, 9.0), (10, 9.0), (20, 8.0), (30, 7.0)):
        searches.trial(search, 0, score=score, step=step)
    searches.trial(search, 0, score=7.5, step=20)  # its worker died, and it went on from step 10
    (trial,) = searches.trials(search)
    assert [(result["step"], result["score"]) for result in trial["results"]] == [(10, 9.0), (20, 7.5)]
    assert trial["score"] == 7.5


def test_a_clone_goes_on_with_its_sources_results(searches: Any) -> None:
    search = searches.running()
    for step, good, bad in ((10, 3.0, 8.0), (20, 2.0, 9.0), (30, 1.0, 9.0)):
        searches.trial(search, 0, score=good, step=step)
        searches.trial(search, 1, score=bad, step=step)
    clone = {"source": "t-00000", "step": 20, "images": 1920, "values": {"optimizers.G.lr": 0.25}}
    searches.trial(search, 1, score=2.0, step=20, clones=[clone])
    searches.trial(search, 1, score=0.5, step=40, clones=[clone])
    searches.trial(search, 2, score=7.0, step=10)
    searches.trial(search, 2, score=0.25, step=40, clones=[clone])  # its clone and its next score in one event
    cloned = [trial for trial in searches.trials(search) if trial["clones"]]
    assert [trial["number"] for trial in cloned] == [2, 1]
    for trial, score in zip(cloned, (0.25, 0.5), strict=True):
        assert [(result["step"], result["score"]) for result in trial["results"]] == [(10, 3.0), (20, 2.0), (40, score)]
        assert trial["clones"] == [clone]


def test_a_trial_shows_the_values_that_it_ended_with_and_beside_them_its_first(searches: Any) -> None:
    search = searches.running(algorithm="pbt")
    first, taken = {"optimizers.G.lr": 0.01}, {"optimizers.G.lr": 0.0125}
    clone = {"source": "t-00001", "step": 20, "images": 640, "values": taken}
    searches.trial(search, 0, score=1.0, step=40, values=first, clones=[clone])
    for shown in (searches.show(search)["best"], searches.trials(search)[0]):
        assert (shown["values"], shown["first_values"]) == (taken, first)


def test_a_trial_that_starts_over_has_no_results_until_it_is_scored_again(searches: Any) -> None:
    search = searches.running()
    searches.trial(search, 0, score=1.0, step=20)
    searches.trial(search, 0, state="pending")
    (trial,) = searches.trials(search)
    assert (trial["results"], trial["score"], searches.show(search)["best"]) == ([], None, None)


def test_one_trial_is_shown_with_its_spec_and_newest_checkpoint(searches: Any, world: Any) -> None:
    search = searches.running()
    searches.trial(search, 3, score=1.0, values={"optimizers.G.lr": 0.00123})
    folder = world.folder(search) / "trials" / "t-00003"
    for step in (10, 200, 3000):
        save(folder, step)
    (folder / "checkpoints" / "step-000003000" / "manifest.json").unlink()
    shown = world.client.get(f"/v1/searches/{search}/trials/t-00003").json()
    assert shown["spec"]["optimizers"]["G"]["lr"] == 0.00123
    assert shown["spec"]["name"] == "rates-00003"
    assert shown["checkpoint"] == "trials/t-00003/checkpoints/step-000000200"
    missing = world.client.get(f"/v1/searches/{search}/trials/t-00009")
    assert (missing.status_code, "t-00009" in missing.json()["detail"]) == (404, True)


def test_a_search_starts_no_further_trial_while_another_run_waits_for_what_it_would_take(
    searches: Any, world: Any
) -> None:
    search = searches.running()
    assert "hold" not in searches.trial(search, 0)
    never = world.submit(resources={"workers": 8})  # no cluster of this size will ever hold it
    world.round()
    assert world.job(never)["state"] == "queued"
    assert "hold" not in searches.trial(search, 0, score=3.0)
    large = world.submit(resources={"workers": 4})
    world.round()
    assert world.job(large)["reason"].startswith("waits for 4 CPUs")
    assert searches.trial(search, 1)["hold"] is True
    headers = {"Authorization": f"Bearer {world.token(search)}"}
    assert world.client.get(f"/v1/jobs/{search}/desired", headers=headers).json()["hold"] is True
    gpu = world.submit(resources={"workers": 1, "gpus_per_worker": 1})
    world.ray.cluster = [Node("n", 7, 6, 1, 0)]
    world.round()
    assert world.job(large)["state"] == "starting"
    assert searches.trial(search, 1)["hold"] is True, "it has not taken its place yet"
    world.ray.move(f"agon-{large}-1", RayStatus.RUNNING)
    world.tell(large, "started", total_images=1000, workers=4)
    world.round()
    assert world.job(gpu)["reason"] == "waits for 1 CPU and 1 GPU; 0 of 1 GPUs free"
    assert "hold" not in searches.trial(search, 1, score=2.0), "it waits for a GPU, which no trial of this search takes"


def test_a_run_whose_nodes_are_late_holds_back_no_trial(searches: Any, world: Any, monkeypatch: Any) -> None:
    search = searches.running()
    waits = world.submit()
    world.round()
    world.tell(waits, "waiting", reason="waits for 2 nodes that are being started")
    assert searches.trial(search, 0)["hold"] is True
    monkeypatch.setitem(world.settings.__dict__, "max_nodes", (NodeShape(2, 64),))
    assert searches.trial(search, 0)["hold"] is True, "they may come yet"
    with world.db.begin() as session:
        before = datetime.now(UTC) - timedelta(seconds=world.settings.nodes_seconds + 60)
        session.execute(update(Job).where(Job.id == waits).values(submitted_at=before))
    headers = {"Authorization": f"Bearer {world.token(search)}"}
    assert "hold" not in searches.trial(search, 0)
    assert "hold" not in world.client.get(f"/v1/jobs/{search}/desired", headers=headers).json()


def test_a_search_waits_until_the_first_trial_of_another_one_has_its_place(searches: Any, world: Any) -> None:
    search = searches.running()
    searches.trial(search, 0)
    other = searches.running(name="other")
    assert searches.trial(search, 1)["hold"] is True
    searches.trial(other, 0, state="pending")
    assert searches.trial(search, 1)["hold"] is True
    searches.trial(other, 0, state="running")
    assert "hold" not in searches.trial(search, 1)


def test_a_trial_that_shall_stop_is_told_to_the_driver_until_it_has_ended(searches: Any, world: Any) -> None:
    search = searches.running()
    for number in range(3):
        assert "stop_trials" not in searches.trial(search, number), (
            "a driver from before there were searches knows no such field"
        )
    stop = f"/v1/searches/{search}/trials/t-00001/stop"
    asked = world.client.post(stop)
    assert (asked.status_code, asked.json()["stop"]) == (202, True)
    assert world.client.post(stop).status_code == 202
    headers = {"Authorization": f"Bearer {world.token(search)}"}
    desired = world.client.get(f"/v1/jobs/{search}/desired", headers=headers).json()
    assert (desired["desired"], desired["stop_trials"]) == ("run", ["t-00001"])
    assert searches.trial(search, 0)["stop_trials"] == ["t-00001"]
    assert searches.trial(search, 1, score=4.0)["stop_trials"] == ["t-00001"], "an event takes nothing back"
    assert "stop_trials" not in searches.trial(search, 1, score=4.0, state="stopped", reason="asked to")
    late = world.client.post(stop)
    assert (late.status_code, "stopped already" in late.json()["detail"]) == (409, True)
    assert searches.show(search)["best"]["score"] == 4.0, "it keeps its score"
    assert world.client.post(f"/v1/searches/{search}/trials/t-00009/stop").status_code == 404
    searches.end(search, outcome="completed")
    assert world.client.post(f"/v1/searches/{search}/trials/t-00000/stop").status_code == 409


def test_what_is_no_trial_is_passed_over(searches: Any, world: Any) -> None:
    search = searches.running()
    bad: list[dict[str, Any]] = [
        {}, {"id": "t-00001", "number": 1}, told(1, id="t-00002"), told(-1, id="t--0001"), told(1, state="odd"), told(1, images=-1),
        told(1, extra=1), told(2**40, id=f"t-{2**40}"),
    ]  # fmt: skip
    for data in bad:
        world.tell(search, "trial", **data)
    assert searches.trials(search) == []
    world.tell(search, "trial", **told(1, result={"step": 1, "score": "high"}))
    assert [item["results"] for item in searches.trials(search)] == [[]]
    job = world.running()
    world.tell(job, "trial", **told(1, score=1.0))
    assert world.client.get(f"/v1/searches/{job}/trials").status_code == 404


def story(length: int) -> list[dict[str, Any]]:
    """Of five trials, in many orders of one seed; a clone among them."""
    dice = random.Random(7)
    events = []
    for seq in range(1, length + 1):
        number, step = dice.randrange(5), 10 * dice.randrange(1, 6)
        clone = {"source": "t-00000", "step": 20, "images": 100, "values": {}}
        clones = [clone] if number == 4 and seq > length / 2 else []
        state = dice.choice(["running", "running", "paused", "stopped", "diverged"])
        events.append(event(seq, told(number, score=dice.random(), step=step, state=state, clones=clones)))
    return events


@pytest.mark.parametrize("seed", range(3))
def test_repeated_and_shuffled_batches_leave_the_trials_that_one_orderly_batch_leaves(
    searches: Any, world: Any, seed: int
) -> None:
    first, second = searches.submit(), searches.submit()
    world.round()
    events, dice = story(40), random.Random(seed)
    assert world.send(first, *events).json()["acked"] == 40
    batches = [events[begin : begin + 5] for begin in range(0, 40, 3)] * 2
    dice.shuffle(batches)
    for batch in batches:
        world.send(second, *dice.sample(batch, len(batch)))
    assert searches.trials(second, order="number") == searches.trials(first, order="number")
    assert searches.show(second)["best"] == searches.show(first)["best"]


SPEC = {"metric": "fid", "mode": None}


@examples(8, suppress_health_check=list(HealthCheck))
@given(order=st.permutations(range(12)), repeats=st.lists(st.integers(0, 11), max_size=6), lost=st.integers(0, 12))
def test_whatever_the_order_only_what_is_gapless_counts_and_it_counts_once(
    db: Database, order: list[int], repeats: list[int], lost: int
) -> None:
    """`lost` never arrives: trials are as the events before it left them."""
    wires = [
        WireEvent(seq=seq + 1, attempt=1, time=WHEN, kind=EventKind.TRIAL, data=told(seq % 3, score=float(seq), step=seq + 1))
        for seq in range(12)
    ]  # fmt: skip
    sent = [index for index in (*order, *repeats) if index != lost]
    with db.begin() as session:
        for old in ("s-1", "s-2"):
            session.execute(delete(Job).where(Job.id == old))
        fields = {"kind": "search", "name": "n", "family": "dcgan", "spec": SPEC, "spec_digest": "d", "principal": "p"}
        rows = [Job(id=name, **fields, request_digest="r", created_at=WHEN, due_at=WHEN) for name in ("s-1", "s-2")]
        session.add_all(rows)
        session.flush()
        ingest.take(session, rows[0], wires[:lost])
        for index in sent:
            ingest.take(session, rows[1], [wires[index]])
            session.flush()
        assert [row.acked for row in rows] == [min(lost, 12)] * 2
        kept = [session.query(Trial).filter_by(job_number=row.number).order_by(Trial.number).all() for row in rows]
        assert [row.record for row in kept[1]] == [row.record for row in kept[0]]
        assert sum(len(row.record["results"]) for row in kept[1]) == min(lost, 12)
