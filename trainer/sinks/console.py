"""Progress for a person: a live bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from trainer.engine.events import (
    CheckpointWritten,
    Event,
    LimitReached,
    Published,
    ReportWritten,
    RolledBack,
    Run,
    RunFinished,
    RunStarted,
    Scored,
    Tick,
    Warned,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ConsoleSink:
    """Listener that tells a person how the run goes."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def handle(self, event: Event, run: Run) -> None:
        """Show the event."""
        if isinstance(event, Tick):
            self._tick(event)
            return
        if isinstance(event, RunStarted) and self._live:
            self._open(event)
        if text := line(event, run):
            self._say(text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            self._out.write(text + "\n")
            self._out.flush()

    def _open(self, event: RunStarted) -> None:
        self.close()  # of the run before a roll back
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]}  ETA {task.fields[eta]}  {task.fields[losses]}"),
            console=Console(file=self._out),
        )
        fields: dict[str, Any] = {"step": event.step, "speed": "-", "eta": "-", "losses": ""}
        self._task = self._bar.add_task("", total=event.total_images, completed=event.images, **fields)
        self._bar.start()

    def _tick(self, event: Tick) -> None:
        speed, eta = f"{event.images_per_second:,.0f} images/s", duration(event.eta_seconds)
        if self._bar is not None and self._task is not None:
            done = min(event.images, event.total_images)
            shown: dict[str, Any] = {"step": event.step, "speed": speed, "eta": eta, "losses": numbers(event.metrics)}
            self._bar.update(self._task, completed=done, **shown)
        else:
            share = min(1.0, event.images / event.total_images)
            self._say(f"step {event.step}  {share:4.0%}  {speed}  ETA {eta}  {numbers(event.metrics)}")


def line(event: Event, run: Run) -> str | None:
    """What to say of an event besides the bar; None for events that need no words."""
    match event:
        case RunStarted():
            begin = f"resuming at step {event.step}" if event.resumed else "starting"
            where = f"{run.distributed.world} × {run.distributed.device}"
            return f"{begin}: {run.spec.name} ({run.spec.arch.family}), {event.total_images:,} images on {where}"
        case CheckpointWritten():
            return f"step {event.step}  checkpoint {event.path.name}"
        case Scored():
            return f"step {event.step}  scores  {numbers(event.scores)}"
        case Published():
            return f"published {event.model} version {event.version}: {event.verdict}"
        case ReportWritten():
            return f"step {event.step}  report {event.path}  ({event.seconds:.0f} s)"
        case RolledBack():
            rates = f"learning rates × {event.lr_factor:g}, other data"
            return f"rolled back from step {event.from_step} to {event.step} ({rates}): {event.reason}"
        case LimitReached():
            return f"stops: {event.reason}"
        case Warned():
            return f"warning: {event.message}"
        case RunFinished():
            return f"{event.outcome} after {event.step} steps, {event.images:,} images"
    return None


def numbers(values: Mapping[str, float]) -> str:
    """`name value` pairs, four significant digits."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03`; `-` if it isn't known."""
    if not 0 <= seconds < 1e9:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
