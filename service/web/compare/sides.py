"""What is compared: jobs and trials alike, as the page shows them beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.context import Context
from service.db import tables
from service.errors import NotFound
from service.runs import files, lists, store, timeline, trials
from service.runs.descent import fork_of
from service.runs.kinds import JOB, SEARCH
from service.runs.lists import Wanted
from service.runs.timeline import Moment, Timeline
from service.searches.samples import PATH as OF_TRIAL
from trainer.search import TrialRecord, parse_search
from trainer.search.space import trial_spec
from trainer.search.trial import trial_dir
from trainer.spec import SpecError
from trainer.spec.differences import differing, flat, heads
from trainer.spec.sections import HIGHER_IS_BETTER

MOST = 50
MOST_FIELDS = 24
"""In which they differ, with a column each."""
MOST_CHARTS = 12
UNNAMED = ("name", "notes")
LABELS = "labels"
"""Fields of a spec that say nothing of what is trained."""
SPREAD = re.compile(r"_(spread|std|deviation)$")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRIAL = re.compile(r"(s-[0-9a-z-]{1,38})/(t-[0-9]{5,10})")


@dataclass(frozen=True)
class Side:
    """One of them. key: as the address has it; where: its page; samples: path below which its grids are asked for."""

    key: str
    name: str
    where: str
    samples: str
    folder: Path
    state: str
    run: str
    """Whose events tell of it."""
    images: int = 0
    offset: int = 0
    """Images that its nets had been shown before its own 0."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    losses: Sequence[str] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Any] | None = None
    """Of a trial: by metric, images and mean. Those of a job are asked for."""
    grids: Timeline = field(default_factory=Timeline)

    @property
    def drawn_until(self) -> int | None:
        """Images at its newest grid, from the first that its nets were shown."""
        images = self.grids.moments[-1].images if self.grids.moments else None
        return None if images is None else images + self.offset

    def shown(self, images: int | None) -> Moment | None:
        """The grid nearest to so many images; None of them: the newest."""
        if images is None:
            return self.grids.moments[-1] if self.grids.moments else None
        return self.grids.nearest(images - self.offset, images=True)


@dataclass(frozen=True)
class Compared:
    """All of them."""

    sides: Sequence[Side]
    wrong: Mapping[str, str]
    """What was asked for and can't be compared, with the reason."""

    @property
    def names(self) -> list[str]:
        """What to call each."""
        return heads([side.key for side in self.sides], [side.name for side in self.sides])

    @property
    def fields(self) -> dict[str, tuple[Any, ...]]:
        """In which their specs differ; labels last, which train nothing."""
        found = differing([flat(dict(side.spec)) for side in self.sides])
        said = {
            path: of for path, of in found.items() if path not in UNNAMED and any(one not in (None, {}) for one in of)
        }
        return dict(sorted(said.items(), key=lambda item: item[0].startswith(LABELS)))

    @property
    def scores(self) -> list[str]:
        """Of any of them."""
        return list(dict.fromkeys(name for side in self.sides for name in side.scores if not SPREAD.search(name)))

    @property
    def charts(self) -> list[str]:
        """What there are curves of: the scores, then what the players minimise."""
        losses = dict.fromkeys(name for side in self.sides for name in side.losses)
        return [*self.scores, *losses][:MOST_CHARTS]

    def best(self, name: str) -> float | None:
        """The best of a score; None: only one has it, or they are all the same."""
        known = [value for side in self.sides if isinstance(value := side.scores.get(name), int | float)]
        if len(known) < 2 or min(known) == max(known):
            return None
        return max(known) if name in HIGHER_IS_BETTER else min(known)

    @property
    def reached(self) -> int | None:
        """Images that the grids of all of them have come to."""
        return min((until for side in self.sides if (until := side.drawn_until) is not None), default=None)

    @property
    def end(self) -> int:
        """Images of the newest grid of any."""
        return max((until for side in self.sides if (until := side.drawn_until) is not None), default=0)


def read(ctx: Context, asked: Iterable[str]) -> Compared:
    """Those that there are, each once, in the order in which they were asked for."""
    found: dict[str, Side] = {}
    wrong: dict[str, str] = {}
    with ctx.db.read() as session:
        for text in dict.fromkeys(one.strip() for one in asked if one.strip()):
            try:
                side = _side(ctx, session, text)
            except NotFound as problem:
                wrong[text[:80]] = problem.detail
                continue
            if side.key not in found and len(found) == MOST:
                wrong[text[:80]] = f"{MOST} are compared at most; take another one out first"
                continue
            found[side.key] = side
    root = ctx.settings.jobs_root
    drawn = [_with_grids(side, timeline.of(root, side.folder)) for side in found.values()]
    return Compared(drawn, wrong)


def _with_grids(side: Side, grids: Timeline) -> Side:
    return Side(**{**vars(side), "grids": grids})


def _side(ctx: Context, session: Session, text: str) -> Side:
    """A trial as `SEARCH/TRIAL`, a job by its id, or the newest of a name. Raises NotFound."""
    if match := _TRIAL.fullmatch(text):
        return _trial(ctx, session, match[1], match[2])
    row = session.scalar(select(tables.Job).where(tables.Job.id == text[:40]))
    if row is None and _NAME.fullmatch(text):
        row = next(iter(lists.page(session, JOB, Wanted(name=text), limit=1, cursor=None)[0]), None)
    if row is not None and row.kind == SEARCH.name:
        raise NotFound(f"is a search; name one of its trials: {row.id}/t-00000")
    if row is None:
        raise NotFound("there is no such run; give a run's id or name, or a trial as SEARCH/TRIAL")
    return _job(ctx, row)


def _job(ctx: Context, row: tables.Job) -> Side:
    progress: Mapping[str, Any] = row.progress or {}
    fork = fork_of(row)
    return Side(
        key=row.id, name=row.name, where=f"/runs/{row.id}", samples=f"/v1/jobs/{row.id}/samples",
        folder=files.job_dir(ctx.settings, row.id), state=row.state, run=row.id, images=progress.get("images") or 0,
        offset=fork.offset if fork else 0, scores=progress.get("scores") or {},
        losses=[name for name in progress.get("metrics") or {} if name.endswith("/loss")], spec=row.spec,
    )  # fmt: skip


def _trial(ctx: Context, session: Session, search_id: str, trial_id: str) -> Side:
    search = store.get(session, search_id, SEARCH)
    record = TrialRecord.model_validate(trials.get(session, search, trial_id).record)
    metric = str(search.spec.get("metric", "score"))
    try:
        spec = trial_spec(parse_search(search.spec), record.current, record.number).model_dump(mode="json")
    except (SpecError, KeyError):  # a search of another version: its values are known
        spec = dict(record.current)
    curve = {"images": [one.images for one in record.results], "mean": [one.value for one in record.results]}
    return Side(
        key=f"{search.id}/{record.id}", name=f"{search.name}/{record.id}", where=f"/searches/{search.id}/trials/{record.id}",
        samples=OF_TRIAL.format(search_id=search.id, trial_id=record.id),
        folder=trial_dir(files.job_dir(ctx.settings, search.id), record.id), state=record.state.value, run=search.id,
        images=record.images, scores={} if record.score is None else {metric: record.score}, spec=spec, curves={metric: curve},
    )  # fmt: skip
