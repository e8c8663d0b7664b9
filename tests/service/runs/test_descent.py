"""Curves of parent and child are one: each run has its stretch of the images that the nets were shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from forks import trained
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from service.bodies.curves import Stretch
from service.bodies.forks import Fork
from service.db.tables import Job
from service.runs.curves import Undone, parting
from service.runs.descent import Share, stretches

Mode = Literal["state", "weights"]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def forked(mode: Mode, images: int, offset: int, **of: str) -> Fork:
    return Fork(mode=mode, step=images // 64, images=images, offset=offset, **(of or {"job": "j-0"}))


def told(*parts: tuple[str, int, int | None], since: int = 0) -> tuple[Stretch, ...]:
    return tuple(
        Stretch(run=run, begin=begin, end=end, told=place >= since) for place, (run, begin, end) in enumerate(parts)
    )


def test_weights_begin_behind_their_parents_count_and_a_state_goes_on_with_it() -> None:
    assert stretches(["a"], [None]) == told(("a", 0, None))
    assert stretches(["a", "b"], [None, forked("weights", 640, 640)]) == told(("a", 0, 640), ("b", 640, None))
    assert stretches(["a", "b"], [None, forked("state", 640, 0)]) == told(("a", 0, 640), ("b", 640, None))
    line = [None, forked("weights", 640, 640), forked("state", 192, 640), forked("weights", 256, 896)]
    assert stretches(["a", "b", "c", "d"], line) == told(
        ("a", 0, 640), ("b", 640, 832), ("c", 832, 896), ("d", 896, None)
    )


def test_what_was_trained_elsewhere_is_a_stretch_that_nothing_is_told_of() -> None:
    for of in ({"trial": "s-1/t-00003"}, {"package": "/data/birds"}, {"job": "j-deleted"}):
        (parent,) = of.values()
        found = stretches(["b"], [forked("weights", 640, 640, **of)])
        assert found == told((parent, 0, 640), ("b", 640, None), since=1)
        found = stretches(["b"], [forked("state", 640, 1000, **of)])
        assert found == told((parent, 0, 1640), ("b", 1640, None), since=1), "with all that was before it"


@given(st.lists(st.tuples(st.sampled_from(("state", "weights")), st.integers(0, 1000)), max_size=8))
def test_stretches_lie_end_to_end_and_add_up_to_what_was_shown(forks: list[tuple[Mode, int]]) -> None:
    """Each: how it was forked, after how many images of the parent's own training."""
    line: list[Fork | None] = [None]
    offset, count, shown = 0, 0, [0]
    for mode, images in forks:
        count += images  # of the parent, as it counts
        shown.append(shown[-1] + images)
        offset += count if mode == "weights" else 0
        line.append(forked(mode, count, offset))
        count = 0 if mode == "weights" else count
    found = stretches([str(place) for place in range(len(line))], line)
    assert [stretch.begin for stretch in found] == shown
    assert [stretch.end for stretch in found] == [*shown[1:], None]


def test_a_parent_that_goes_back_behind_the_fork_is_another_history_from_then_on() -> None:
    share = Share(Job(), step=10, forked_at=NOON)
    minute = timedelta(minutes=1)
    before, here, after = Undone(3, 5, NOON - minute), Undone(7, 10, NOON + minute), Undone(9, 9, NOON + minute)
    assert parting([before, here], share) is None, "what it had undone before, and what it did behind the checkpoint"
    assert parting([before, here, after, Undone(11, 0, NOON + minute)], share) == 9
    assert parting([after], Share(Job())) is None


def tell(world: Any, job: str, kind: str, step: int, at: datetime | None = None, /, **data: Any) -> None:
    """The job's next event, of that step."""
    world.seqs[job] = world.seqs.get(job, 0) + 1
    sent = {"seq": world.seqs[job], "attempt": 1, "time": (at or NOON).isoformat(), "kind": kind}
    reply = world.send(job, {**sent, "step": step, "images": 64 * step, "data": data})
    assert reply.status_code == 200, reply.text


def shown(world: Any, job: str, **params: Any) -> dict[str, Any]:
    reply = world.client.get(f"/v1/jobs/{job}/curves", params=params)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def fork(world: Any, parent: str, step: int, mode: str) -> str:
    trained(world.folder(parent), world.job(parent)["spec"], step)
    reply = world.client.post("/v1/jobs", json={"from": {"job": parent, "checkpoint": step, "mode": mode}})
    assert reply.status_code == 201, reply.text
    world.round()
    return str(reply.json()["id"])


@pytest.fixture
def line(world: Any) -> list[str]:
    """A job, its weights trained on from step 10, and of that the state from step 6; x counts the steps that the nets made."""
    first = str(world.running())
    for step in (5, 10, 15):
        tell(world, first, "progress", step, metrics={"x": step})
    second = fork(world, first, 10, "weights")
    for step in (3, 6, 9):
        tell(world, second, "progress", step, metrics={"x": 10 + step})
    third = fork(world, second, 6, "state")
    tell(world, third, "started", 6, total_images=1000, resumed_from=6)
    tell(world, third, "progress", 8, metrics={"x": 18})
    tell(world, third, "scores", 8, scores={"fid": 3.5}, provenance={})
    return [first, second, third]


@pytest.mark.databases
def test_the_parents_curves_up_to_the_fork_stand_before_the_childs(world: Any, line: list[str]) -> None:
    first, second, third = line
    whole = shown(world, third, lineage=True)
    steps = [5, 10, 13, 16, 18]
    assert whole["training"]["x"]["last"] == steps
    assert whole["training"]["x"]["images"] == [64 * step for step in steps]
    assert (whole["offset"], whole["scores"]["fid"]["images"]) == (640, [1152])
    assert [tuple(stretch.values()) for stretch in whole["lineage"]] == [
        (first, 0, 640, True), (second, 640, 1024, True), (third, 1024, None, True),
    ]  # fmt: skip
    alone = shown(world, third)
    assert (alone["offset"], alone["lineage"], alone["training"]["x"]["images"]) == (640, [], [512])
    assert shown(world, first, lineage=True)["training"] == shown(world, first)["training"]
    assert shown(world, first)["offset"] == 0
    bounded = shown(world, third, lineage=True, buckets=2)["training"]["x"]
    assert (len(bounded["mean"]), bounded["least"][0], bounded["greatest"][-1]) == (2, 5.0, 18.0)


@pytest.mark.databases
def test_what_the_parent_did_with_its_own_steps_later_changes_nothing_of_the_childs_curve(
    world: Any, line: list[str]
) -> None:
    first, _, third = line
    later = datetime.now(UTC) + timedelta(hours=1)
    before = shown(world, third, lineage=True)
    tell(world, first, "rolled-back", 5, later, reason="it collapsed", from_step=15, to_step=5)
    tell(world, first, "progress", 9, later, metrics={"x": -9})
    after = shown(world, third, lineage=True)
    assert after["training"]["x"] == before["training"]["x"]
    assert shown(world, first)["training"]["x"]["last"] == [5.0, -9.0], "its own has gone another way"


def test_of_a_deleted_parent_the_stretch_is_known_alone(world: Any, line: list[str]) -> None:
    _, second, third = line
    with world.db.begin() as session:
        session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": second})
    whole = shown(world, third, lineage=True)
    assert [tuple(stretch.values()) for stretch in whole["lineage"]] == [
        (second, 0, 1024, False), (third, 1024, None, True),
    ]  # fmt: skip
    assert whole["training"]["x"]["images"] == [1152]


def test_a_poll_hears_of_what_the_parents_told_too(world: Any, line: list[str]) -> None:
    url = f"/v1/jobs/{line[-1]}/curves"
    whole, alone = (world.client.get(url, params={"lineage": lineage}).headers["etag"] for lineage in (True, False))

    def known(tag: str, lineage: bool) -> int:
        params, headers = {"lineage": lineage}, {"If-None-Match": tag}
        return int(world.client.get(url, params=params, headers=headers).status_code)

    assert (known(whole, True), known(alone, False), known(alone, True)) == (304, 304, 200)
    tell(world, line[0], "progress", 8, metrics={"x": 8})
    assert (known(whole, True), known(alone, False)) == (200, 304)
