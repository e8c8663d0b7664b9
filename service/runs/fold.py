"""What a job's reports mean for its row: a pure fold over events in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from trainer.wire import EventKind, FailureKind, WireEvent

MAX_REASON = 4000
MOST_WORKERS = 4096
"""That a spec may ask for."""


@dataclass(frozen=True)
class Report:
    """All that a job has said of itself."""

    attempt: int
    """The attempt that counts; only its STARTED, FINISHED and FAILED do."""
    started_attempt: int = 0
    progress: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    mlflow_run_id: str | None = None
    outcome: dict[str, Any] | None = None
    waiting: str = ""
    workers: int = 0
    """That train now; 0: it has not said so."""
    spent: dict[str, str] | None = None
    """The limit by which it ends itself: {limit, reason}."""
    ended: bool = False
    """Whether its end is written down."""

    @property
    def over(self) -> bool:
        """Whether the attempt that counts has ended: then nothing that is said of it changes what came of it."""
        return self.ended or (self.outcome is not None and self.outcome["attempt"] == self.attempt)


def fold(report: Report, events: Iterable[WireEvent]) -> Report:
    """The report after `events`, which come in order of `seq`. Values of an unexpected type are passed over."""
    for event in events:
        report = _apply(report, event)
    return report


def _apply(report: Report, event: WireEvent) -> Report:
    data, current = event.data, event.attempt == report.attempt
    if report.over and event.kind is not EventKind.TRACKED:
        return report
    match event.kind:
        case EventKind.WAITING if current:
            return replace(report, waiting=_text(data.get("reason")))
        case EventKind.STARTED:
            return replace(
                report,
                started_attempt=max(report.started_attempt, event.attempt),
                waiting="" if current else report.waiting,
                workers=(_count(data.get("workers")) or 0) if current else report.workers,
                # Speed, losses and scores of an earlier attempt are none of this one's.
                progress=_progress(
                    report.progress if event.attempt <= report.started_attempt else None,
                    event,
                    total_images=_count(data.get("total_images")),
                ),
            )
        case EventKind.TRACKED:
            run = data.get("mlflow_run_id")
            told = isinstance(run, str) and len(run) <= 64 and not (report.over and report.mlflow_run_id)
            return replace(report, mlflow_run_id=run) if told else report
        case EventKind.PROGRESS:
            return replace(
                report,
                waiting="" if current else report.waiting,
                progress=_progress(
                    report.progress,
                    event,
                    metrics=_mapping(data.get("metrics")),
                    total_images=_count(data.get("total_images")),
                    images_per_second=_number(data.get("images_per_second")),
                    eta_seconds=_number(data.get("eta_seconds")),
                ),
            )
        case EventKind.ROLLED_BACK:
            return replace(report, progress=_progress(report.progress, event))
        case EventKind.SCORES:
            return replace(report, progress=_progress(report.progress, event, scores=_mapping(data.get("scores"))))
        case EventKind.PUBLISHED:
            return replace(report, model=_model(data))
        case EventKind.FINISHED if current:
            result = "stopped" if data.get("outcome") == "stopped" else "completed"
            return replace(report, outcome=_outcome(event, result=result), waiting="")
        case EventKind.LIMIT if current:
            return replace(report, spent={"limit": _text(data.get("limit"))[:32], "reason": _text(data.get("reason"))})
        case EventKind.FAILED if current:
            return replace(report, outcome=_failure(event), waiting="")
        case _:
            return report


def _progress(before: dict[str, Any] | None, event: WireEvent, **values: Any) -> dict[str, Any]:
    """The newest values; what this event doesn't say stays. After a restart the step goes back, truthfully."""
    told = {name: value for name, value in values.items() if value is not None}
    return {**(before or {}), "step": event.step, "images": event.images, **told}


def _outcome(event: WireEvent, **facts: str) -> dict[str, Any]:
    return {"attempt": event.attempt, "time": event.time.isoformat(), **facts}


def _failure(event: WireEvent) -> dict[str, Any]:
    try:
        kind = FailureKind(str(event.data.get("kind")))
    except ValueError:
        kind = FailureKind.INTERNAL
    rank = _count(event.data.get("rank"))
    rank = rank if rank is not None and 0 <= rank < MOST_WORKERS else None
    reason = _text(event.data.get("reason")) or "the job gave no reason"
    found = _outcome(event, result="failed", kind=kind.value, reason=reason)
    return found if rank is None else {**found, "rank": rank}


def _model(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _text(data.get("model")),
        "version": _text(data.get("version")),
        "champion": data.get("champion") is True,
        "verdict": _text(data.get("verdict")),
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)[:MAX_REASON]


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _mapping(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
