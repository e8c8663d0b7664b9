"""Synthetic searches: trials whose scores are a known function of their values."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from math import log10
from typing import Any

import numpy as np

from trainer.search import SearchSpec, TrialClone, TrialRecord, TrialResult, TrialState, parse_search
from trainer.search.space import draw_values, grid

SPACE: dict[str, Any] = {
    "optimizers.G.lr": {"loguniform": [1e-5, 1e-1], "also": ["optimizers.D.lr"]},
    "train.batch": [16, 32, 64],
    "optimizers.G.beta1": {"uniform": [0.0, 0.9]},
}
BY_ALGORITHM: dict[str, dict[str, Any]] = {
    "grid": {**SPACE, "optimizers.G.lr": [1e-4, 1e-3, 1e-2], "optimizers.G.beta1": [0.0, 0.5]},
    "pbt": {path: one for path, one in SPACE.items() if path != "train.batch"},  # it can't change while a trial trains
}
FULL = 64_000
EVALUATIONS = 8


def search(algorithm: str = "random", **given: Any) -> SearchSpec:
    """Over G's and D's learning rate, batch size and β₁ of DCGAN on digits."""
    base = given.pop(
        "base", {"recipe": "dcgan-digits", "set": {"train.images": FULL, "evaluation.metrics": ["fid", "precision"]}}
    )
    space = given.pop("space", BY_ALGORITHM.get(algorithm, SPACE))
    return parse_search({"name": "lr-search", "base": base, "space": space, "algorithm": algorithm, **given})


def by_rate(values: dict[str, Any]) -> float:
    """A score that only the learning rate decides: 10 at 1e-3, and 10 more for each order of magnitude away from it."""
    return 10.0 + 10.0 * abs(log10(values["optimizers.G.lr"]) + 3.0)


def results(
    final: float, evaluations: int = EVALUATIONS, *, every: int = FULL // EVALUATIONS
) -> tuple[TrialResult, ...]:
    """Evaluations that fall towards the final score."""
    return tuple(
        TrialResult(
            step=100 * n,
            images=every * n,
            value=final * (1 + 2 / n),
            score=final if n == evaluations else final * (1 + 2 / n),
            spread=0.1,
            seconds=10.0 * n,
        )
        for n in range(1, evaluations + 1)
    )


def record(number: int, values: dict[str, Any], state: TrialState = TrialState.COMPLETED, **given: Any) -> TrialRecord:
    """One trial."""
    done = given.get("results", ())
    images = given.pop("images", done[-1].images if done else 0)
    return TrialRecord(id=f"t-{number:05d}", number=number, state=state, values=values, images=images, **given)


def trials(
    spec: SearchSpec, count: int, score: Callable[[dict[str, Any]], float] = by_rate, seed: int = 0
) -> list[TrialRecord]:
    """Completed trials; with ASHA two of three are stopped on the way, and rates above 0.03 diverge in every algorithm."""
    random = np.random.default_rng(seed)
    drawn = (
        list(grid(spec.base, spec.space))[:count]
        if spec.algorithm == "grid"
        else [draw_values(spec.base, spec.space, random) for _ in range(count)]
    )
    made = []
    for number, values in enumerate(drawn):
        final = score(values)
        if float(values.get("optimizers.G.lr", 0.0)) > 0.03:
            made.append(
                record(number, values, TrialState.DIVERGED, reason="D/loss is not finite", results=results(final, 2))
            )
        elif spec.scheduler == "asha" and number % 3:
            made.append(
                record(
                    number, values, TrialState.STOPPED, reason="stopped by ASHA", results=results(final, 1 + number % 3)
                )
            )
        else:
            made.append(record(number, values, results=results(final)))
    return made


def population(spec: SearchSpec, count: int = 6) -> list[TrialRecord]:
    """A population in which the last two took over the first one's state, and the last once more."""
    made = trials(spec, count)
    made = [
        trial.replace(state=TrialState.COMPLETED, reason="", results=results(by_rate(trial.values))) for trial in made
    ]
    first, last = made[0], made[-1]
    taken = {**first.values, "optimizers.G.lr": float(first.values["optimizers.G.lr"]) * 0.8}  # type: ignore[arg-type]
    again = {**taken, "optimizers.G.beta1": 0.5}
    made[-2] = made[-2].replace(clones=(TrialClone(source=first.id, step=200, images=16_000, values=taken),))
    made[-1] = last.replace(
        clones=(
            TrialClone(source=first.id, step=200, images=16_000, values=taken),
            TrialClone(source=made[-2].id, step=400, images=32_000, values=again),
        )
    )
    return made


class Tables(HTMLParser):
    """Text of every table's rows, by the id of its section: `[section][table][row][column]`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[list[str]]]] = {}
        self.section, self.cell = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "section":
            self.section = dict(attrs)["id"]
        elif tag == "table":
            self.found.setdefault(self.section, []).append([])
        elif tag == "tr":
            self.found[self.section][-1].append([])
        elif tag in ("td", "th"):
            self.found[self.section][-1][-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.cell:
            self.found[self.section][-1][-1][-1] += data
