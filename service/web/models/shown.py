"""Versions as the page shows them: what their tags say, and what is known here of the run that made them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bodies.models import Model, ModelVersion
from service.db.tables import Dataset, Job
from service.gateway.registry import JOB_TAG
from service.web.frame import Viewer

SCORE = "agon.score."
HIGHER_IS_BETTER = ("precision", "recall")
MOST_SCORES = 6
"""Columns."""
_BEST = re.compile(r"(s-[0-9a-f]{12})-best-(t-[0-9]{5,10})-[0-9]{1,18}")
"""As a search's best trial is registered."""


@dataclass(frozen=True)
class Maker:
    """The run that a version was made by."""

    id: str
    trial: str = ""
    """Of a search."""
    name: str | None = None
    """None: it is not known here, or was deleted."""
    owner: str = ""
    parent: str | None = None
    """What it went on with."""

    @property
    def path(self) -> str:
        """Of its page."""
        if self.trial:
            return f"/searches/{self.id}/trials/{self.trial}"
        return f"/runs/{self.id}"


@dataclass(frozen=True)
class Shown:
    """One version."""

    of: ModelVersion
    metric: str = ""
    """By which the gate judged."""
    scores: Mapping[str, float] = field(default_factory=dict)
    maker: Maker | None = None
    dataset: str | None = None
    """The name under which its data are registered here."""
    may_move: bool = False
    """Whether who looks may point an alias at it."""

    @property
    def verdict(self) -> str:
        """The gate's sentence."""
        return self.of.tags.get("agon.verdict", "")

    @property
    def won(self) -> bool:
        """Whether the gate made it the champion."""
        return self.of.tags.get("agon.champion") == "true"

    @property
    def digest(self) -> str:
        """Of its data."""
        return self.of.tags.get("agon.dataset_digest", "")

    @property
    def basis(self) -> tuple[str, str, str]:
        """Scores of the same basis can be compared."""
        tags = self.of.tags
        return self.digest, tags.get("agon.extractor_digest", ""), tags.get("agon.samples", "")


def shown(session: Session, versions: Iterable[ModelVersion], viewer: Viewer) -> list[Shown]:
    """All of a page, in the order that they have."""
    versions = list(versions)
    makers = _makers(session, [version.tags.get(JOB_TAG, "") for version in versions])
    names = _datasets(session)
    return [_shown(version, makers, names, viewer) for version in versions]


def _shown(version: ModelVersion, makers: Mapping[str, Maker], names: Mapping[str, str], viewer: Viewer) -> Shown:
    maker = makers.get(version.tags.get(JOB_TAG, ""))
    return Shown(
        version,
        metric=version.tags.get("agon.metric", ""),
        scores=_scores(version.tags),
        maker=maker,
        dataset=names.get(version.tags.get("agon.dataset_digest", "")),
        may_move=viewer.may_submit and (maker is None or viewer.may_change(maker.owner)),
    )


def _scores(tags: Mapping[str, str]) -> dict[str, float]:
    """What is no number is left out; the metric of the gate is the first."""
    found: dict[str, float] = {}
    for name, text in sorted(tags.items(), key=lambda tag: (tag[0] != SCORE + tags.get("agon.metric", ""), tag[0])):
        if name.startswith(SCORE):
            try:
                found[name.removeprefix(SCORE)] = float(text)
            except ValueError:
                continue
    return {name: value for name, value in found.items() if not math.isnan(value)}


def columns(versions: Sequence[Shown]) -> list[str]:
    """The scores that a table of them has."""
    found = dict.fromkeys(name for version in versions for name in version.scores)
    return list(found)[:MOST_SCORES]


def _makers(session: Session, tags: Sequence[str]) -> dict[str, Maker]:
    """By the tag."""
    ids = {tag: (best[1], best[2]) if (best := _BEST.fullmatch(tag)) else (tag, "") for tag in set(tags) if tag}
    statement = select(Job.id, Job.name, Job.owner, Job.parent).where(Job.id.in_({run for run, _ in ids.values()}))
    known = {row.id: row for row in session.execute(statement)}
    found: dict[str, Maker] = {}
    for tag, (run, trial) in ids.items():
        row = known.get(run)
        found[tag] = Maker(run, trial) if row is None else Maker(run, trial, row.name, row.owner, row.parent)
    return found


def _datasets(session: Session) -> dict[str, str]:
    """Names by digest."""
    rows = session.execute(select(Dataset.name, Dataset.manifest).order_by(Dataset.number.desc()).limit(1000))
    return {str(manifest.get("digest", "")): name for name, manifest in rows}


def pointing(model: Model) -> dict[str, list[str]]:
    """Aliases by version, `champion` first."""
    found: dict[str, list[str]] = {}
    for alias in sorted(model.aliases, key=lambda alias: (alias != "champion", alias)):
        found.setdefault(model.aliases[alias], []).append(alias)
    return found
