"""Curves of a training: from the events in its folder, or from its MLflow run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from trainer import tracking
from trainer.wire import EventKind

EVENTS_FILE = "events.jsonl"
SCORES = ("fid", "kid", "precision", "recall", "reconstruction")
"""Metrics that evaluations give; the others come from training."""


@dataclass(frozen=True)
class Curve:
    """A metric over the training, in order: steps, images shown (empty if only steps are known), values."""

    steps: tuple[int, ...]
    images: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class History:
    """metrics and scores by name; facts: how long it took and where, for a person."""

    metrics: Mapping[str, Curve] = field(default_factory=dict)
    scores: Mapping[str, Curve] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


Points = dict[int, tuple[int | None, float]]
"""step → images, value"""


def from_events(folder: Path) -> History:
    """Of the job's own events. What a restart has undone is not shown; lines that are torn are passed over."""
    path = folder / EVENTS_FILE
    if not path.is_file():
        return History()
    tables: dict[str, Points] = {}
    events = list(_events(path))
    for event in events:
        data = event.get("data", {})
        kind, step, images = event["kind"], int(event.get("step", 0)), int(event.get("images", 0))
        if kind == EventKind.STARTED and data.get("resumed_from") is not None:
            _forget_after(tables, int(data["resumed_from"]))
        if kind == EventKind.ROLLED_BACK:
            _forget_after(tables, step)
        numbers: Mapping[str, Any] = {}
        if kind == EventKind.PROGRESS:
            numbers = {**data.get("metrics", {}), "images_per_second": data.get("images_per_second")}
        elif kind == EventKind.OBSERVED:
            numbers = data.get("metrics", {})
        elif kind == EventKind.SCORES:
            numbers = data.get("scores", {})
        for name, value in numbers.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                tables.setdefault(name, {})[step] = (images, float(value))
    return _history(tables, _run_facts(events), "the job's events")


def from_mlflow(uri: str, job_id: str, images_a_step: float | None = None) -> History:
    """Of the run with tag `agon.job_id`; empty if there is none. `images_a_step` turns steps into images shown.

    Raises MlflowException or requests' errors if the server can't be reached.
    """
    client = tracking.client(uri)
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, filter_string=f"tags.`{tracking.JOB_TAG}` = '{job_id}'", max_results=1)
    if not runs:
        return History()
    run = runs[0]
    tables: dict[str, Points] = {}
    for name in run.data.metrics:
        if name.startswith("share/"):
            continue
        for point in client.get_metric_history(run.info.run_id, name):
            images = None if images_a_step is None else round(point.step * images_a_step)
            tables.setdefault(name, {})[point.step] = (images, point.value)
    facts = {"MLflow run": str(run.info.run_id)}
    if run.info.end_time:
        facts["wall time, with waiting and restarts"] = duration((run.info.end_time - run.info.start_time) / 1000)
    return _history(tables, facts, "the job's MLflow run")


def _history(tables: Mapping[str, Points], facts: Mapping[str, str], source: str) -> History:
    curves = {name: _curve(points) for name, points in tables.items() if points}
    return History(
        metrics={name: curve for name, curve in curves.items() if name not in SCORES},
        scores={name: curve for name, curve in curves.items() if name in SCORES},
        facts=facts,
        source=source,
    )


def _curve(points: Points) -> Curve:
    ordered = sorted(points.items())
    images = [shown for _, (shown, _) in ordered if shown is not None]
    return Curve(
        steps=tuple(step for step, _ in ordered),
        images=tuple(images) if len(images) == len(ordered) else (),
        values=tuple(value for _, (_, value) in ordered),
    )


def _events(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "kind" in event:
                yield event


def _forget_after(tables: Mapping[str, Points], step: int) -> None:
    for points in tables.values():
        for later in [known for known in points if known > step]:
            del points[later]


def _run_facts(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Wall time within runs (from each start to the last event before the next), restarts, device."""
    spans: list[list[datetime]] = []
    where = ""
    for event in events:
        when = datetime.fromisoformat(str(event["time"]))
        if event["kind"] == EventKind.STARTED:
            spans.append([when, when])
            workers, device = event["data"].get("workers", 1), event["data"].get("device", "cpu")
            where = f"{workers} worker{'' if workers == 1 else 's'} on {device}"
        elif spans and event["kind"] not in (EventKind.WAITING, EventKind.FAILED, EventKind.FINISHED):
            spans[-1][1] = when
    if not spans:
        return {}
    facts = {"wall time of training": duration(sum((end - begin).total_seconds() for begin, end in spans))}
    facts["trained by"] = where
    if len(spans) > 1:
        facts["starts"] = str(len(spans))
    return facts


def duration(seconds: float) -> str:
    """`45 s`, `3 min 07 s`, `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
