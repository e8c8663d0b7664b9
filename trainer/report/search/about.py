"""What was searched, and what did not work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from trainer.report.errors import LeftOut
from trainer.report.page import Block, Head, Table, Text
from trainer.search import TrialState
from trainer.search.found import Found
from trainer.search.values import drawn_from, shown

MOST_ROWS = 30
WORDS = {
    "random": "values drawn at random, every trial trained to its end",
    "grid": "all combinations of the values",
    "optuna": "values drawn by Optuna's TPE, which learns from the scores",
    "asha": "values drawn at random; bad trials are stopped early (ASHA)",
    "asha+optuna": "values drawn by Optuna's TPE; bad trials are stopped early (ASHA)",
    "pbt": "a population; its worst members take over the state of its best ones and go on with changed values (PBT)",
}


def head(found: Found) -> Head:
    """Name, what it is, the best score and how far it has come."""
    counts = found.counts()
    ended = sum(trial.state.ended for trial in found.trials)
    base, best = found.search.base, found.best
    tiles = [] if best is None else [(f"{best.score:.4g}", f"best {found.search.metric} · {found.direction}")]
    tiles += [
        (f"{ended} of {max(len(found.trials), found.search.trials)}", "trials ended"),
        (f"{found.images:,}", "images shown"),
    ]
    count = len(found.search.space)
    kind = f"A search over {count} field{'s' if count > 1 else ''} of {base.name} ({base.arch.family}): {WORDS[found.search.algorithm]}."
    states = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no trial has begun"
    return Head(found.search.name, kind, tiles, f"Trials: {states}.")


def searched(found: Found) -> Sequence[Block]:
    """Base, algorithm, metric and budget; the space."""
    search, base = found.search, found.search.base
    smoothed = f"the mean over the last {search.smooth} evaluations" if search.smooth > 1 else "the newest evaluation"
    limits = [
        search.extent,
        *([f"{search.budget.images:,} images"] if search.budget.images else []),
        *([f"{search.budget.seconds:g} s"] if search.budget.seconds else []),
    ]
    facts = [
        ("base", f"{base.name}, family {base.arch.family}"),
        ("full length of a trial", f"{base.train.images:,} images"),
        ("metric", f"{search.metric}, {found.direction}; a trial's score is {smoothed}"),
        ("algorithm", f"{search.algorithm}: {WORDS[search.algorithm]}"),
        ("budget", ", ".join(limits)),
        *([] if search.algorithm == "pbt" else [("trials at once", f"{search.max_concurrent} at most")]),
        ("seed", f"{search.seed} of the draws, {base.train.seed} of the trainings"),
        *([("search", found.id)] if found.id else []),
    ]
    rows = [
        (path, drawn_from(one), ", ".join(one.also) or "–", "; ".join(f"{name} = {_wanted(value)}" for name, value in one.when.items()) or "always")
        for path, one in search.space.items()
    ]  # fmt: skip
    return [Table(facts), Table(rows, ("field", "drawn from", "also sets", "only where"), caption="Space")]


def _wanted(value: object) -> str:
    if isinstance(value, list):
        return " or ".join(shown(one) for one in value)
    return shown(value)  # type: ignore[arg-type]


def failures(found: Found) -> Sequence[Block]:
    """Trials that diverged or failed, with the reason."""
    bad = [trial for trial in found.trials if trial.state in (TrialState.DIVERGED, TrialState.FAILED)]
    if not bad:
        raise LeftOut("no trial diverged or failed")
    rows = [
        (
            trial.id,
            trial.state.value,
            f"{trial.images:,}",
            trial.reason or "no reason is written down",
            "–" if trial.score is None else f"{trial.score:.4g}",
            values_text(trial.current),
        )
        for trial in bad[:MOST_ROWS]
    ]
    diverged = len(found.diverged)
    text = (
        f"{diverged} of {len(found.trials)} trials diverged (numbers that are no longer finite, or a collapse) and count as worse than "
        f"every score; {len(bad) - diverged} failed for reasons that say nothing about their values."
    )
    more = f" The first {MOST_ROWS} of {len(bad)}." if len(bad) > MOST_ROWS else ""
    return [Text(text + more), Table(rows, ("trial", "state", "images", "reason", "score", "values"))]


def values_text(values: Mapping[str, JsonValue]) -> str:
    """`path = value` of each, for a cell."""
    return ", ".join(f"{path} = {shown(value)}" for path, value in values.items())
