"""What the page of a search shows, read from the stores that REST reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from service.db import tables
from service.runs import trials
from service.web.searches.parallel import MOST_AXES, Parallel, parallel
from trainer.search import Distribution, SearchSpec, TrialRecord, TrialState, parse_search
from trainer.search.found import Found
from trainer.search.values import changed, drawn_from, wide
from trainer.spec import SpecError

SECTION = "/searches"
"""What all of these pages belong to."""
MOST = 200
"""Trials on one page: in the picture, the table and all else."""
MOST_LINES = 40
"""Curves in one chart."""
MOST_CLONES = 100
ENDED = tuple(state.value for state in TrialState if state.ended)
SCORE, NUMBER, IMAGES, STATE = "score", "number", "images", "state"


@dataclass(frozen=True)
class Row:
    """A trial, and what its record doesn't say."""

    trial: TrialRecord
    stop: bool
    """Whether someone asked it to end."""


@dataclass(frozen=True)
class Clone:
    """Population-based training: who took over whom."""

    trial: str
    images: int
    source: str
    step: int
    change: str


@dataclass(frozen=True)
class Trials:
    """A page of a search's trials."""

    metric: str
    minimises: bool
    space: Mapping[str, Distribution]
    """Empty for a search of another version, of which nobody can tell."""
    rows: Sequence[Row]
    further: str | None = None
    """The cursor of the next page."""
    population: bool = False
    spec: SearchSpec | None = field(default=None, repr=False)

    @property
    def records(self) -> list[TrialRecord]:
        """Without what someone asked of them."""
        return [row.trial for row in self.rows]

    @property
    def direction(self) -> str:
        """Which way is better."""
        return "lower is better" if self.minimises else "higher is better"

    @property
    def columns(self) -> list[str]:
        """The fields that the table has a column for: those with an axis, or all that a trial names."""
        named = list(self.space) or list(dict.fromkeys(path for trial in self.records for path in trial.current))
        return named[:MOST_AXES]

    @property
    def ranges(self) -> list[tuple[str, str, str]]:
        """What is searched: path, what it is drawn from, and what goes with it."""
        return [(path, drawn_from(one), _beside(one)) for path, one in self.space.items()]

    @cached_property
    def parallel(self) -> Parallel | None:
        """The picture of all of them."""
        return parallel(self.space, self.metric, self.minimises, self.records)

    @property
    def best_first(self) -> list[TrialRecord]:
        """Those with a score."""
        scored = [(score, trial) for trial in self.records if (score := trial.score) is not None]
        scored.sort(key=lambda one: (one[0] if self.minimises else -one[0], one[1].number))
        return [trial for _, trial in scored]

    @property
    def curves(self) -> list[dict[str, Any]]:
        """Score over images, as `chart.js` draws it: the best in the colour of the best, the others the fainter the worse."""
        shown = self.best_first[:MOST_LINES]
        return [
            {
                "label": trial.id,
                "images": [result.images for result in trial.results],
                "mean": [result.score for result in trial.results],
                "colour": "--c2" if place == 0 else f"--q{place * 8 // len(shown)}",
            }
            for place, trial in enumerate(shown)
        ]

    @property
    def logarithmic(self) -> bool:
        """Whether the curves want such an axis."""
        return wide([result.score for trial in self.best_first[:MOST_LINES] for result in trial.results])

    def ancestry(self, trial: TrialRecord) -> list[tuple[str, int]]:
        """Whose state it trains on with, newest first, and at whose images."""
        return Found(self.spec, self.records).ancestry(trial) if self.spec else []

    def importances(self) -> tuple[Mapping[str, float], str]:
        """Each field's share, the most important first; or why there are none."""
        if self.spec is None:
            return {}, "the search is of another version"
        from trainer.search.importance import NotKnown, importances  # Optuna, which takes seconds to import

        try:
            return importances(Found(self.spec, self.records)), ""
        except NotKnown as why:
            return {}, str(why)

    @property
    def clones(self) -> list[Clone]:
        """The newest first."""
        found = [
            Clone(trial.id, clone.images, clone.source, clone.step, changed(before, clone.values))
            for trial in self.records
            for before, clone in zip([trial.values, *(one.values for one in trial.clones)], trial.clones, strict=False)
        ]
        return sorted(found, key=lambda clone: -clone.images)

    def by(self, sort: str) -> Trials:
        """In another order: by one of the columns, `-` before its name for the greatest first. What has no value comes last."""
        key = _key(sort.removeprefix("-"))
        if key is None:
            return self
        known = [row for row in self.rows if key(row) is not None]
        known.sort(key=lambda row: _comparable(key(row)), reverse=sort.startswith("-"))
        return Trials(
            self.metric, self.minimises, self.space, [*known, *(row for row in self.rows if key(row) is None)],
            self.further, self.population, self.spec,
        )  # fmt: skip


def read(session: Session, search: tables.Job, state: TrialState | None, cursor: str | None) -> Trials:
    """The best first. Raises Invalid."""
    rows, further = trials.page(session, search, state=state, by_score=True, limit=MOST, cursor=cursor)
    found = [Row(TrialRecord.model_validate(row.record), row.stop) for row in rows]
    return of(search, found, further)


def of(search: tables.Job, rows: Sequence[Row], further: str | None = None) -> Trials:
    """These trials of that search."""
    raw: dict[str, Any] = search.spec
    population = raw.get("algorithm") == "pbt"
    try:
        spec = parse_search(raw)
    except SpecError:  # of another version
        metric = str(raw.get("metric", "score"))
        fields: dict[str, Any] = {"metric": metric, "mode": raw.get("mode")}
        like = SearchSpec.model_construct(**fields)
        return Trials(metric, like.minimises, {}, rows, further, population)
    return Trials(spec.metric, spec.minimises, spec.space, rows, further, population, spec)


def _beside(one: Distribution) -> str:
    also = [f"also sets {', '.join(one.also)}"] if one.also else []
    when = [f"{path} = {value}" for path, value in one.when.items()]
    return "; ".join([*also, *([f"where {' and '.join(when)}"] if when else [])])


def _key(column: str) -> Callable[[Row], Any] | None:
    simple: dict[str, Callable[[Row], Any]] = {
        SCORE: lambda row: row.trial.score,
        NUMBER: lambda row: row.trial.number,
        IMAGES: lambda row: row.trial.images,
        STATE: lambda row: row.trial.state.value,
    }
    if column in simple:
        return simple[column]
    if "." not in column:
        return None
    return lambda row: row.trial.current.get(column)


def _comparable(value: Any) -> tuple[bool, float, str]:
    """Numbers before texts: a field's choices may be of several types."""
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, "" if number else str(value))
