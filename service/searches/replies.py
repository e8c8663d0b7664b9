"""From rows of searches and trials to what the API answers."""

from __future__ import annotations

from typing import Any

from service.bodies.searches import Search, Trial, TrialDetail
from service.bodies.waiting import Waiting
from service.db import tables
from service.runs import replies
from service.runs.trials import Standing
from trainer.search import TrialRecord
from trainer.spec import JobSpec


def search(row: tables.Job, standing: Standing, waiting: Waiting | None) -> Search:
    """One search, from its row and its trials, with what it waits for."""
    best = trial(standing.best) if standing.best is not None else None
    return Search(
        **replies.common(row, waiting), search=row.spec, best=best, trials=dict(standing.states), images=standing.images
    )


def trial(row: tables.Trial) -> Trial:
    """One trial."""
    return Trial(**_shown(row))


def detail(row: tables.Trial, spec: JobSpec, checkpoint: str | None) -> TrialDetail:
    """One trial with what it trains."""
    return TrialDetail(**_shown(row), spec=spec.model_dump(mode="json"), checkpoint=checkpoint)


def _shown(row: tables.Trial) -> dict[str, Any]:
    """What all replies about a trial have."""
    record = TrialRecord.model_validate(row.record)
    values = {"values": record.current, "first_values": record.values}
    return {**dict(record), **values, "score": record.score, "spread": record.spread, "stop": row.stop}
