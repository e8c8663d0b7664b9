"""Lengths of time as people write them, and what follows from limits: pure functions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.runs import limits
from trainer.spec.limits import Limits, period, seconds_of

NOW = datetime(2026, 1, 10, tzinfo=UTC)
PART = st.tuples(st.integers(0, 99), st.sampled_from(["d", "h", "m", "s"]), st.sampled_from(["", " "]))


def run(state: str = "running", used: float = 0.0, **given: Any) -> Any:
    """A row that was submitted ten hours ago and has run so long, with four GPUs."""
    return SimpleNamespace(
        kind="job", state=state, spec={"limits": given}, created_at=NOW - timedelta(hours=10), queued_at=NOW - timedelta(hours=1),
        counted_at=NOW if state == "running" else None, run_seconds=used, accelerator_seconds=4 * used, training_workers=4, workers=2,
        worker_gpus=1.0, warned="", limit_at=None, spent=None, queue_seconds=0.0,
    )  # fmt: skip


@examples(100)
@given(st.lists(PART, min_size=1, max_size=4))
def test_a_length_of_time_is_read_as_it_is_written(parts: list[tuple[int, str, str]]) -> None:
    lengths = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    text = " ".join(f"{count}{space}{unit}" for count, unit, space in parts)
    total = sum(count * lengths[unit] for count, unit, _ in parts)
    assert seconds_of(text) == total
    if total:
        assert seconds_of(period(total)) == total
        assert Limits(run=text).run == total  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2 hours", "-1h", "1e3s", "1h2", "١h", "1" * 20 + "s", "0s", True, math.inf, []]
)
def test_what_is_no_length_of_time_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"run"):
        Limits(run=text)


def test_no_limit_is_ever_reached_by_a_spec_that_sets_none() -> None:
    for state in ("queued", "running", "paused"):
        job = run(state, 1e9)
        assert (limits.uses(job, NOW), limits.over(job, NOW), limits.ends_at(job)) == ([], None, None)
        limits.watch(job, NOW)
        assert job.limit_at is None
    old = run("queued")
    old.spec = {}
    assert limits.over(old, NOW) is None


def test_the_first_limit_that_is_used_up_ends_it_and_the_soonest_is_told() -> None:
    job = run("running", 3000, run=3600, wall="11h", accelerator_hours=4, wait=1)
    assert limits.over(job, NOW) is None
    assert limits.ends_at(job) == NOW + timedelta(seconds=600)
    assert [use.name for use in limits.uses(job, NOW)] == ["run", "wall", "accelerator_hours"], "it waits no more"
    assert [text.partition(":")[0] for text in limits.warnings(job, NOW)] == ["limits.wall"]
    assert list(limits.warnings(job, NOW)) == []
    spent = limits.over(run("running", 3600, run=3600, accelerator_hours=4), NOW)
    assert spent == {"limit": "run", "reason": "limits.run: its 1h on the cluster are used up"}


@examples(100)
@given(
    state=st.sampled_from(["submitted", "queued", "paused"]),
    wait=st.none() | st.floats(1, 1e5),
    wall=st.none() | st.floats(1, 1e6),
    used=st.floats(0, 1e4),
    most=st.none() | st.floats(1, 1e4),
)
def test_who_looks_whenever_it_is_time_warns_once_and_ends_no_sooner_and_no_later(
    state: str, wait: float | None, wall: float | None, used: float, most: float | None
) -> None:
    """What waits or is paused is looked at when `watch` says, and at no other time."""
    job, told, now = run(state, used, wait=wait, wall=wall, run=most), 0, NOW
    limits.watch(job, now)
    for _ in range(20):
        if job.limit_at is None:
            break
        assert job.limit_at >= now
        before = now
        now = max(now, job.limit_at)
        if limits.over(job, now) is not None:
            assert limits.over(job, before) is None or now - before <= limits.A_LITTLE, "not before it was time"
            break
        told += len(list(limits.warnings(job, now)))
        limits.watch(job, now)
    else:
        pytest.fail("looked at for ever")
    assert told <= 3
    if job.limit_at is None:
        assert limits.over(job, now + timedelta(days=10_000)) is None
