"""What of a search's events is shown: a pure reduction, so that the terminal and the tests see the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.cli.facts import wish
from service.cli.view import warned
from service.client import TERMINAL, Event, Search, Trial
from trainer.search import SearchSpec, parse_search
from trainer.spec import SpecError

ENDED = ("stopped", "completed", "diverged", "failed")
UNRANKED = ("diverged", "failed")


@dataclass(frozen=True)
class TrialLine:
    """One trial's newest state."""

    id: str
    state: str
    score: float | None
    spread: float | None
    images: int
    values: Mapping[str, Any]
    reason: str = ""

    @classmethod
    def of(cls, trial: Trial) -> TrialLine:
        """As the API lists it."""
        return cls(trial.id, trial.state, trial.score, trial.spread, trial.images, trial.values, trial.reason)

    @classmethod
    def told(cls, data: Mapping[str, Any]) -> TrialLine:
        """From a TRIAL event."""
        state, result = str(data.get("state", "")), data.get("result") or {}
        scored = result if state != "diverged" else {}
        clones = data.get("clones") or ()
        return cls(
            id=str(data.get("id", "")),
            state=state,
            score=scored.get("score"),
            spread=scored.get("spread"),
            images=int(data.get("images") or 0),
            values=(clones[-1] if clones else data).get("values") or {},
            reason=str(data.get("reason") or ""),
        )

    @property
    def words(self) -> str:
        """`12.3 ± 0.4`."""
        return "–" if self.score is None else f"{self.score:.4g} ± {self.spread or 0:.2g}"


@dataclass
class SearchView:
    """The latest of everything about one search. `apply` returns the lines that should stay on the screen."""

    name: str
    id: str
    metric: str
    minimises: bool
    asked: int
    """Trials that it shall have."""
    budget: int | None = None
    """Images over all trials after which the search ends."""
    extent: str = ""
    """How many trials, and how much of a finite space they are."""
    population: bool = False
    """Whether all trials belong together, so that how many train at once is not asked for."""
    state: str = ""
    reason: str = ""
    images: int = 0
    images_per_second: float | None = None
    trials: dict[str, TrialLine] = field(default_factory=dict)
    begun: datetime | None = None
    """When it was submitted: its clock runs from there."""
    wish: str = ""
    """What it was asked to become when it was last looked at, until its state changes."""

    @classmethod
    def of(cls, search: Search) -> SearchView:
        """The view before any event."""
        spec = search.search
        fields = {name: spec[name] for name in ("metric", "mode")}
        minimises = SearchSpec.model_construct(**fields).minimises
        budget = spec["budget"]["images"]
        population = spec["algorithm"] == "pbt"
        return cls(
            search.name, search.id, spec["metric"], minimises, spec["trials"], budget, extent(spec), population,
            begun=search.created_at, wish=wish(search),
        )  # fmt: skip

    @property
    def ranked(self) -> list[TrialLine]:
        """Best first; those that never win last."""
        sign = 1.0 if self.minimises else -1.0

        def place(trial: TrialLine) -> tuple[bool, bool, float, str]:
            score = trial.score
            return (trial.state in UNRANKED, score is None, 0.0 if score is None else sign * score, trial.id)

        return sorted(self.trials.values(), key=place)

    @property
    def best(self) -> TrialLine | None:
        """The best of those that neither diverged nor failed."""
        first = next(iter(self.ranked), None)
        return first if first is not None and first.score is not None and first.state not in UNRANKED else None

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(trial.state in ENDED for trial in self.trials.values())

    @property
    def running(self) -> int:
        """Trials that train."""
        return sum(trial.state == "running" for trial in self.trials.values())

    @property
    def share(self) -> float:
        """Done, in [0, 1]: of the trials, or of the budget if that ends it sooner."""
        if self.state == "succeeded":
            return 1.0
        spent = self.images / self.budget if self.budget else 0.0
        return min(1.0, max(self.ended / self.asked, spent))

    def numbers(self) -> str:
        """One line of figures."""
        parts = [f"{self.ended} of {self.asked} trials ended", f"{self.running} running", f"{self.images:,} images"]
        if self.images_per_second and self.state not in TERMINAL:
            parts.append(f"{self.images_per_second:,.0f} images/s")
        if (best := self.best) is not None:
            parts.append(f"best {self.metric} {best.words} ({best.id})")
        return " · ".join(parts)

    def apply(self, event: Event) -> list[str]:
        """Take in one event."""
        handler = getattr(self, f"_on_{event.kind.replace('-', '_')}", None)
        lines: list[str] = handler(event.data) if handler else []
        if event.kind == "progress":
            self.images = event.images
        return lines

    def _on_state(self, data: dict[str, Any]) -> list[str]:
        before, self.state = self.state, str(data.get("state", self.state))
        self.wish = self.wish if before in ("", self.state) else ""
        if self.state != "running":  # nothing trains at the speed of the attempt before
            self.images_per_second = None
        self.reason = str(data.get("reason") or "") if self.state != "running" else ""
        failure = data.get("failure") or {}
        if self.state == "failed":
            why = failure.get("reason") or self.reason or "no reason given"
            return [f"failed ({failure.get('kind', 'unknown')}): {why}"]
        if self.state == before:
            return warned(data)
        why = f": {self.reason}" if self.reason not in ("", self.state) else ""
        return [self.state + why]

    def _on_waiting(self, data: dict[str, Any]) -> list[str]:
        changed = data.get("reason") != self.reason
        self.reason = str(data.get("reason", ""))
        return [f"waiting: {self.reason}"] if changed else []

    def _on_started(self, data: dict[str, Any]) -> list[str]:
        self.reason = ""
        at_once = "" if self.population else f", at most {data.get('workers', 1)} at once"
        return [f"searching: {self.extent or f'{self.asked} trials'}{at_once}"]

    def _on_progress(self, data: dict[str, Any]) -> list[str]:
        self.images_per_second = data.get("images_per_second")
        return []

    def _on_trial(self, data: dict[str, Any]) -> list[str]:
        line, best = TrialLine.told(data), self.best
        before = self.trials.get(line.id)
        self.trials[line.id] = line
        self.images = max(self.images, sum(trial.images for trial in self.trials.values()))
        lines = []
        if line.state in ENDED and (before is None or before.state != line.state):
            why = f": {line.reason}" if line.reason else ""
            lines.append(f"{line.id} {line.state}, {self.metric} {line.words}{why}")
        if (now := self.best) is not None and now.id == line.id and (best is None or best.id != now.id):
            lines.append(f"new best: {now.id}, {self.metric} {now.words}, {values(now.values)}")
        return lines

    def _on_published(self, data: dict[str, Any]) -> list[str]:
        return [f"published {data.get('model')} version {data.get('version')}: {data.get('verdict', '')}"]

    def _on_report(self, data: dict[str, Any]) -> list[str]:
        return [f"report: agon search report {self.id}"]

    def _on_warning(self, data: dict[str, Any]) -> list[str]:
        return [f"warning: {data.get('message', '')}"]

    def _on_limit(self, data: dict[str, Any]) -> list[str]:
        return [f"stops itself: {data.get('reason', '')}"]

    def _on_failed(self, data: dict[str, Any]) -> list[str]:
        self.reason = str(data.get("reason", ""))
        return []


def extent(spec: Mapping[str, Any]) -> str:
    """`3 trials, all combinations`, of a resolved search."""
    try:
        return parse_search(dict(spec)).extent
    except SpecError:  # of another version
        return f"{spec['trials']} trials"


def values(given: Mapping[str, Any]) -> str:
    """`optimizers.G.lr 0.0002, train.batch 64`."""
    return ", ".join(f"{path} {value(item)}" for path, item in given.items())


def value(item: Any) -> str:
    """One value, short."""
    return f"{item:.3g}" if isinstance(item, float) else str(item)
