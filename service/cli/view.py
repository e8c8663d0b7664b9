"""What of a job's events is shown: a pure reduction, so that the terminal and the tests see the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from service.cli.facts import losses, wish
from service.cli.output import seconds
from service.client import TERMINAL, Event, Job

SHOWN_METRICS = 6
"""At most, the losses first."""


def warned(data: dict[str, Any]) -> list[str]:
    """Of a change that changes no state: that a limit is nearly used up."""
    reason = str(data.get("reason") or "")
    return [f"warning: {reason}"] if reason.startswith("limits.") else []


@dataclass
class JobView:
    """The latest of everything about one job. `apply` returns the lines that should stay on the screen."""

    name: str
    id: str
    state: str = ""
    """Empty until the first event: an event stream begins with the state."""
    reason: str = ""
    """Where it waits and why; empty while it runs."""
    step: int = 0
    images: int = 0
    total_images: int = 0
    images_per_second: float | None = None
    eta_seconds: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    doing: str = ""
    """What it does beside training steps, e.g. publishing."""
    begun: datetime | None = None
    """When it was submitted: its clock runs from there."""
    wish: str = ""
    """What it was asked to become when it was last looked at, until its state changes."""
    attempt: int = 0
    """The newest; figures are its own."""
    past: JobView | None = None
    """What earlier attempts tell of, when their events are read again."""

    @classmethod
    def of(cls, job: Job) -> JobView:
        """The view before any event."""
        total = job.spec.get("train", {}).get("images", 0)
        return cls(job.name, job.id, total_images=int(total), begun=job.created_at, wish=wish(job))

    @property
    def share(self) -> float:
        """Done, in [0, 1]."""
        return min(1.0, self.images / self.total_images) if self.total_images else 0.0

    def apply(self, event: Event) -> list[str]:
        """Take in one event."""
        if event.attempt < self.attempt:
            if event.attempt == 0:
                return []
            self.past = self.past or replace(self, attempt=event.attempt, reason="")
            return self.past.apply(event)
        if event.attempt > self.attempt:
            self.attempt, self.step, self.images = event.attempt, 0, 0
            self._nothing_measured()
        if event.kind in ("progress", "started", "rolled-back"):  # after a restart: back to the checkpoint
            self.step, self.images = event.step, event.images
        handler = getattr(self, f"_on_{event.kind.replace('-', '_')}", None)
        lines: list[str] = handler(event.data) if handler else []
        return lines

    def numbers(self) -> str:
        """One line of figures: step, images/s, ETA, losses."""
        parts = [f"step {self.step}"]
        if self.images_per_second is not None:
            parts.append(f"{self.images_per_second:,.0f} images/s")
        if self.eta_seconds is not None and self.state not in TERMINAL:
            parts.append(f"ETA {seconds(self.eta_seconds)}")
        minimised, measured = losses(self.metrics)
        shown = list({**minimised, **measured}.items())[:SHOWN_METRICS]
        return " · ".join([*parts, *(f"{name} {value:.4g}" for name, value in shown)])

    def _nothing_measured(self) -> None:
        """What trains now has told no figures yet."""
        self.metrics, self.images_per_second, self.eta_seconds, self.doing = {}, None, None, ""

    def _on_state(self, data: dict[str, Any]) -> list[str]:
        before, self.state = self.state, str(data.get("state", self.state))
        self.wish = self.wish if before in ("", self.state) else ""
        if self.state in ("submitted", "queued", "starting", "paused"):
            self._nothing_measured()
        self.reason = str(data.get("reason") or "") if self.state != "running" else ""
        failure = data.get("failure") or {}
        if self.state == "failed":
            why = failure.get("reason") or self.reason or "no reason given"
            return [f"failed ({failure.get('kind', 'unknown')}): {why}{self._log_of(failure)}"]
        if self.state == before:
            return warned(data)
        why = f": {self.reason}" if self.reason not in ("", self.state) else ""
        return [self.state + why]

    def _on_waiting(self, data: dict[str, Any]) -> list[str]:
        changed = data.get("reason") != self.reason
        self.reason = str(data.get("reason", ""))
        return [f"waiting: {self.reason}"] if changed and self.reason else []

    def _on_started(self, data: dict[str, Any]) -> list[str]:
        self.reason = ""
        self._nothing_measured()
        self.total_images = int(data.get("total_images") or self.total_images)
        workers, device = data.get("workers", 1), data.get("device", "cpu")
        resumed = data.get("resumed_from")
        where = f"on {workers} worker{'s' if workers != 1 else ''} ({device})"
        which = f"attempt {self.attempt}: " if self.attempt > 1 else ""
        return [f"{which}training {where}" + (f", resumed from step {resumed}" if resumed is not None else "")]

    def _on_progress(self, data: dict[str, Any]) -> list[str]:
        self.reason = self.doing = ""
        self.metrics = {name: float(value) for name, value in data.get("metrics", {}).items()}
        self.images_per_second = data.get("images_per_second")
        self.eta_seconds = data.get("eta_seconds")
        self.total_images = int(data.get("total_images") or self.total_images)
        if self.total_images and self.images >= self.total_images:
            self.doing = "all images shown; evaluating and publishing"
        return []

    def _on_scores(self, data: dict[str, Any]) -> list[str]:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in data.get("scores", {}).items())
        return [f"scores: {scores}"]

    def _on_published(self, data: dict[str, Any]) -> list[str]:
        return [f"published {data.get('model')} version {data.get('version')}: {data.get('verdict', '')}"]

    def _on_report(self, data: dict[str, Any]) -> list[str]:
        return [f"report: agon report {self.id} --out DIR"]

    def _on_warning(self, data: dict[str, Any]) -> list[str]:
        return [f"warning: {data.get('message', '')}"]

    def _on_limit(self, data: dict[str, Any]) -> list[str]:
        return [f"stops itself: {data.get('reason', '')}"]

    def _on_restarted(self, data: dict[str, Any]) -> list[str]:
        return [f"worker group restarted: {data.get('reason', '')}{self._log_of(data)}"]

    def _on_rolled_back(self, data: dict[str, Any]) -> list[str]:
        steps = f"from step {data.get('from_step')} to {data.get('to_step')}"
        return [f"rolled back {steps}, learning rates × {data.get('lr_factor', 1):g}: {data.get('reason', '')}"]

    def _log_of(self, told: dict[str, Any]) -> str:
        """What is typed for the log of the worker that failed, if one did."""
        rank = told.get("rank")
        return "" if rank is None else f" (its log: agon logs {self.id} --attempt {self.attempt} --rank {rank})"

    def _on_failed(self, data: dict[str, Any]) -> list[str]:
        self.reason = str(data.get("reason", ""))
        return []
