"""What `agon watch` and `agon show` make of a job's events: figures are of what trains now, nothing is cut, its clock is the job's."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from service.cli import facts
from service.cli.follow import Plain
from service.cli.view import JobView
from service.cli.watch import _Live
from service.client import Event, Job

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
METRICS = {
    "D/loss": 1.234567, "D/accuracy_real": 0.51, "D/accuracy_fake": 0.52, "D/gradient_penalty": 0.0123, "G/loss": 2.345678,
}  # fmt: skip


def _job(**changes: Any) -> Job:
    given = {
        "id": "j-0123456789ab", "name": "dcgan-digits", "state": "running", "desired": "run", "attempt": 1, "reason": "",
        "spec_digest": "d", "created_at": BEGUN, "spec": {"train": {"images": 12_345_678}}, "failure": None,
        "progress": None, "mlflow_run_id": None, "model": None, "trial": None, "started_at": None, "finished_at": None,
    }  # fmt: skip
    return Job.model_validate({**given, **changes})


def _event(kind: str, attempt: int = 1, after: float = 0.0, step: int = 0, images: int = 0, **data: Any) -> Event:
    return Event(
        id="1", kind=kind, attempt=attempt, time=BEGUN + timedelta(seconds=after), step=step, images=images, data=data
    )


def _progress(attempt: int = 1, step: int = 40) -> Event:
    return _event(
        "progress", attempt, step=step, images=step * 64, metrics=METRICS, images_per_second=1234.5, eta_seconds=7265.0,
        total_images=12_345_678,
    )  # fmt: skip


def _first(attempt: int, state: str = "running") -> Event:
    return _event("state", attempt, state=state)


def test_the_next_attempt_shows_no_number_of_the_one_before() -> None:
    view = JobView.of(_job())
    for event in (_first(1), _event("started"), _progress(), _event("state", 1, state="queued", reason="lost")):
        view.apply(event)
    assert "images/s" not in view.numbers()
    assert "loss" not in view.numbers()
    view.apply(_event("state", 2, state="starting"))
    assert view.numbers() == "step 0"
    assert view.share == 0
    said = view.apply(_event("started", 2, step=30, images=1920, resumed_from=30, workers=2))
    assert said == ["attempt 2: training on 2 workers (cpu), resumed from step 30"]
    assert (view.step, view.images) == (30, 1920)
    assert view.numbers() == "step 30"


def test_history_that_is_read_again_is_told_and_changes_no_figure_of_what_runs_now() -> None:
    """Who watches during the second attempt reads the first one's events: its speed and losses are not shown as today's."""
    view = JobView.of(_job(attempt=2))
    lines = []
    for event in (
        _first(2), _event("waiting", reason="a worker"), _event("started"), _progress(), _event("warning", message="D wins"),
        _event("scores", scores={"fid": 12.0}),
    ):  # fmt: skip
        lines += view.apply(event)
    assert lines == ["running", "waiting: a worker", "training on 1 worker (cpu)", "warning: D wins", "scores: fid 12"]
    assert (view.numbers(), view.reason, view.state) == ("step 0", "", "running")
    view.apply(_event("started", 2, step=30, resumed_from=30))
    view.apply(_progress(2, step=35))
    assert "step 35" in view.numbers()


def test_a_restart_of_the_workers_begins_without_figures_too() -> None:
    view = JobView.of(_job())
    for event in (_first(1), _event("started"), _progress(), _event("restarted", reason="a node left")):
        view.apply(event)
    view.apply(_event("started", step=20, images=1280, resumed_from=20))
    assert view.numbers() == "step 20"


@pytest.mark.parametrize("width", [80, 60])
def test_no_loss_is_cut_on_a_narrow_terminal(width: int) -> None:
    view = JobView.of(_job())
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=20, soft_wrap=True, color_system=None
    )
    for event in (_first(1), _event("started"), _progress()):
        view.apply(event)
    show = _Live(view, console, lambda _: "")
    with show:
        show.live.refresh()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("step 40", "D/loss 1.235", "G/loss 2.346", "1,234 images/s", "ETA 2:01:05"):
        assert text in " ".join(shown.split()), text
    assert shown.index("G/loss") < shown.index("D/accuracy_real"), "losses come first"
    assert "2,560 of 12,345,678 images" in " ".join(shown.split())


def test_the_clock_is_the_jobs_not_the_watchs() -> None:
    console = Console(file=io.StringIO(), width=100)
    show = Plain(JobView.of(_job()), console, lambda _: "", ("progress",))
    for event in (
        _event("state", 1, 62, state="running"),
        _event("started", 1, 65),
        _event("warning", 1, 7200, message="x"),
    ):
        show.on_event(event)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[0] for line in lines] == ["1:02", "1:05", "2:00:00"]


def test_a_wish_to_cancel_is_shown_until_it_is_carried_out() -> None:
    asked = _job(desired="stop")
    assert facts.state_of(asked).plain == "running, cancelling …"
    assert dict(facts.facts(asked))["state"].plain == "running, cancelling …"  # type: ignore[union-attr]
    assert facts.state_of(_job(desired="stop", state="queued")).plain == "queued, cancelling …"
    for state in ("stopping", "cancelled", "failed"):
        assert facts.state_of(_job(desired="stop", state=state)).plain == state
    assert facts.state_of(_job()).plain == "running"
    view = JobView.of(asked)
    view.apply(_first(1))
    assert view.wish == "cancelling"
    view.apply(_event("state", 1, state="stopping"))
    assert view.wish == ""


def test_losses_are_losses_and_the_rest_is_measured() -> None:
    found = dict(facts.facts(_job(progress={"step": 40, "images": 64, "metrics": METRICS, "images_per_second": 5.0})))
    assert found["losses"] == "D/loss 1.235, G/loss 2.346"
    assert found["measured"] == "D/accuracy_real 0.51, D/accuracy_fake 0.52, D/gradient_penalty 0.0123"


def test_what_waits_for_its_next_attempt_has_no_speed() -> None:
    progress = {"step": 40, "images": 64, "images_per_second": 5.0, "eta_seconds": 3.0}
    assert "speed" not in {name for name, value in facts.facts(_job(state="queued", progress=progress)) if value}
    assert "speed" in {name for name, value in facts.facts(_job(progress=progress)) if value}


def test_a_limit_that_is_nearly_used_up_is_told_though_the_state_is_the_same() -> None:
    seen = JobView.of(_job())
    seen.apply(_event("state", state="running"))
    warning = "limits.run: 90% of 2h are used; it ends in about 12m, with a checkpoint"
    assert seen.apply(_event("state", state="running", reason=warning)) == [f"warning: {warning}"]
    assert seen.apply(_event("state", state="running", reason="")) == []
    told = _event("limit", limit="no_better_after", reason="limits.no_better_after: fid")
    assert seen.apply(told) == ["stops itself: limits.no_better_after: fid"]


def test_what_was_used_and_what_comes_by_itself_is_shown() -> None:
    now = datetime.now(UTC)
    job = _job(
        usage={"queue_seconds": 60, "run_seconds": 4000, "accelerator_seconds": 16_000},
        ends_at=now + timedelta(seconds=3605), next_try_at=now + timedelta(seconds=20), stop_at=now + timedelta(seconds=50),
    )  # fmt: skip
    shown = dict(facts.facts(job))
    assert shown["used"] == "1:00 in the queue, 1:06:40 on the cluster, 4.44 GPU-hours"
    assert str(shown["ends"]).startswith("in 1:00:0")
    assert str(shown["next try"]).startswith("in ")
    assert "stopped" in shown
    assert "planned" not in shown
    usage = {
        "cpu_seconds": 7200,
        "planned_cpu_seconds": 36_000,
        "planned_accelerator_seconds": 5400,
        "planned_by": "runs",
    }
    planned = dict(facts.facts(_job(usage=usage)))
    assert (planned["used"].rpartition(", ")[2], planned["planned"]) == (
        "2 CPU-hours",
        "10 CPU-hours, 1.5 GPU-hours, as runs like it took",
    )
    ended = dict(facts.facts(_job(state="cancelled", limit="run", desired="stop")))
    assert ended["to go on"] == "agon edit j-0123456789ab --set limits.run=…, then agon retry j-0123456789ab"
    assert dict(facts.facts(_job(state="cancelled", limit="wait")))["to go on"] == "agon retry j-0123456789ab"


def test_who_watches_or_looks_hears_which_log_says_why_it_failed() -> None:
    failure = {"kind": "worker-lost", "reason": "worker 3 was lost", "rank": 3}
    seen = JobView.of(_job())
    seen.apply(_first(1))
    typed = "agon logs j-0123456789ab --attempt 1 --rank 3"
    assert seen.apply(_event("restarted", reason="worker 3 was lost", rank=3)) == [
        f"worker group restarted: worker 3 was lost (its log: {typed})"
    ]
    assert seen.apply(_event("state", state="failed", failure=failure)) == [
        f"failed (worker-lost): worker 3 was lost (its log: {typed})"
    ]
    assert dict(facts.facts(_job(state="failed", failure=failure)))["its log"] == typed
    none = _job(state="failed", failure={"kind": "start-failed", "reason": "Ray refused it"})
    assert dict(facts.facts(none))["its log"] == "agon logs j-0123456789ab --attempt 1"
    assert dict(facts.facts(_job()))["its log"] == ""
