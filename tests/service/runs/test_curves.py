"""Curves from events: whatever was undone is not in them, and however much was told, the answer is small."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.runs.curves import Buckets, Told, Undone, kept

VALUES = st.floats(allow_nan=True, allow_infinity=True)
HISTORIES = st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40)
"""Steps in the order of their events; True: an event that goes back to that step."""


@given(HISTORIES)
def test_what_a_later_event_went_back_behind_is_left_out(history: list[tuple[int, bool]]) -> None:
    told = [Told(seq, step, 64 * step, False, {}) for seq, (step, back) in enumerate(history) if not back]
    undone = [Undone(seq, step) for seq, (step, back) in enumerate(history) if back]
    expected = [event for event in told if not any(mark.seq > event.seq and mark.step < event.step for mark in undone)]
    assert list(kept(told, undone)) == expected


@given(st.lists(st.tuples(st.integers(0, 10_000), VALUES), max_size=60), st.integers(1, 20))
@settings(deadline=None)
def test_every_finite_value_is_within_its_bucket_and_there_are_no_more_than_asked_for(
    points: list[tuple[int, float]], count: int
) -> None:
    points = sorted(points, key=lambda point: point[0])
    found = Buckets(points[0][0] if points else 0, points[-1][0] if points else 0, count)
    for number, (images, value) in enumerate(points):
        found.add(Told(number, images, images, False, {"x": value}))
    finite = [value for _, value in points if math.isfinite(value)]
    curve = found.curves(scores=False).get("x")
    assert (curve is None) == (not finite)
    if curve is not None:
        assert len(curve.mean) <= count
        assert min(curve.least) == min(finite)
        assert max(curve.greatest) == max(finite)
        assert curve.last[-1] == finite[-1]
        assert list(curve.images) == sorted(set(curve.images))
        for least, mean, greatest in zip(curve.least, curve.mean, curve.greatest, strict=True):
            assert least <= mean <= greatest or math.isinf(mean)


def tell(world: Any, job: str, kind: str, step: int, **data: Any) -> None:
    """The job's next event, of that step."""
    world.seqs[job] += 1
    images = data.pop("images", 64 * step)
    told = {"seq": world.seqs[job], "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": kind}
    reply = world.send(job, {**told, "step": step, "images": images, "data": data})
    assert reply.status_code == 200, reply.text


def trained(world: Any, job: str, step: int, **metrics: Any) -> None:
    tell(world, job, "progress", step, metrics=metrics, images_per_second=100.0)


def curves(world: Any, job: str, **params: Any) -> dict[str, Any]:
    reply = world.client.get(f"/v1/jobs/{job}/curves", params=params)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@pytest.mark.databases
def test_losses_measures_and_scores_are_curves_over_the_images(world: Any) -> None:
    job = world.running()
    assert curves(world, job) == {"acked": 1, "offset": 0, "lineage": [], "training": {}, "scores": {}}
    for step in (10, 20, 30):
        trained(world, job, step, **{"G/loss": step / 10})
    tell(world, job, "observed", 30, metrics={"sentinel/diversity": 0.9})
    tell(world, job, "scores", 30, scores={"fid": 12.5}, provenance={"extractor": "x"})
    found = curves(world, job)
    assert found["training"]["G/loss"] == {
        "images": [640, 1280, 1920], "steps": [10, 20, 30],
        **{key: [1.0, 2.0, 3.0] for key in ("mean", "least", "greatest", "last")},
    }  # fmt: skip
    assert set(found["training"]) == {"G/loss", "images_per_second", "sentinel/diversity"}
    assert found["scores"]["fid"]["mean"] == [12.5]
    (only,) = curves(world, job, metric=["G/loss"], buckets=1)["training"].values()
    assert (only["mean"], only["least"], only["greatest"], only["last"]) == ([2.0], [1.0], [3.0], [3.0])


def test_a_roll_back_and_a_restart_leave_what_they_undid_out(world: Any) -> None:
    job = world.running()
    for step in (10, 20, 30):
        trained(world, job, step, x=step)
    tell(world, job, "rolled-back", 10, reason="it collapsed", from_step=30, to_step=10)
    trained(world, job, 20, x=-20.0)
    assert curves(world, job)["training"]["x"]["last"] == [10.0, -20.0]
    tell(world, job, "started", 0, total_images=1000, resumed_from=10)
    trained(world, job, 25, x=-25.0)
    assert curves(world, job)["training"]["x"]["last"] == [10.0, -25.0]
    tell(world, job, "started", 0, total_images=1000, resumed_from=None)
    assert curves(world, job)["training"] == {}


def test_a_poll_that_has_seen_it_is_answered_without_a_body(world: Any) -> None:
    job = world.running()
    trained(world, job, 10, x=1.0)
    first = world.client.get(f"/v1/jobs/{job}/curves")
    again = world.client.get(f"/v1/jobs/{job}/curves", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = world.client.get(f"/v1/jobs/{job}/curves?buckets=7", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200
    trained(world, job, 20, x=1.0)
    later = world.client.get(f"/v1/jobs/{job}/curves", headers={"If-None-Match": first.headers["etag"]})
    assert later.status_code == 200


def test_what_a_hostile_job_told_hurts_nobody(world: Any) -> None:
    job = world.running()
    odd = {"a": True, "b": "text", "c": [1], "d": None, "e": {"f": 1}, "ok": 1}
    tell(world, job, "progress", 10, metrics=odd, images_per_second="fast")
    tell(world, job, "progress", 20, images=2**62, metrics=[1, 2])
    tell(world, job, "progress", 30, images=5, metrics={f"m{number}": 1.0 for number in range(1000)})
    found = curves(world, job)
    assert found["training"]["ok"]["last"] == [1.0]
    assert len(found["training"]) == 200
    for wrong in ({"buckets": 0}, {"buckets": 1001}, {"buckets": "x"}, {"metric": "y" * 300}):
        assert world.client.get(f"/v1/jobs/{job}/curves", params=wrong).status_code == 422
    assert world.client.get("/v1/jobs/j-000000000000/curves").status_code == 404
