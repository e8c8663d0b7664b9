"""What the searched fields have to do with the scores."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.report.errors import LeftOut
from trainer.report.page import Block, Charts, Table, Text
from trainer.report.search import drawing
from trainer.report.search.best import MOST_LINES, NONE_YET, rank_of
from trainer.report.search.drawing import Axis
from trainer.search import TrialRecord
from trainer.search.found import Found
from trainer.search.importance import LEAST, NotKnown, importances
from trainer.search.values import Scale

MOST_AXES = 9
MOST_CLOUDS = 12


def importance(found: Found) -> Sequence[Block]:
    """Each field's share, as bars and as a table."""
    try:
        given = importances(found)
    except NotKnown as why:
        raise LeftOut(str(why)) from why
    stopped = sum(trial.state.value == "stopped" for trial in found.finished)
    text = (
        f"PED-ANOVA (Watanabe et al. 2023) of {len(found.finished)} finished trials: how differently a field's values are spread "
        f"among the best of them and among all. {len(found.diverged)} that diverged count as the worst; {stopped} that were stopped "
        f"early count with the score they had then. Shares add up to 1; they say what mattered within this space, and with few trials "
        f"they are rough (under {LEAST} none are given)."
    )
    rows = [(path, f"{share:.3f}") for path, share in given.items()]
    return [Text(text), Charts([drawing.shares("Importance", given)]), Table(rows, ("field", "share"))]


def parallel(found: Found) -> Sequence[Block]:
    """Parallel coordinates: a line for each trial that has a score."""
    if found.best is None:
        raise LeftOut(NONE_YET)
    if len(found.ranked) < 2:
        raise LeftOut("only one trial has a score")
    trials, paths = _thinned(found), _by_importance(found)[:MOST_AXES]
    ranks = rank_of(found)
    chart = drawing.parallel(
        "Values and score of each trial",
        [_axis(found, path, trials) for path in paths],
        [trial.score or 0.0 for trial in trials],
        found.search.metric,
        [ranks[trial.id] for trial in trials],
    )
    notes = [
        f"{found.search.metric}: {found.direction}. Orange: the best trial; the others the stronger the better.",
        f"The {MOST_AXES} most important of {len(found.search.space)} fields." if len(found.search.space) > MOST_AXES else "",
        f"{len(trials)} of {len(found.ranked)} trials." if len(trials) < len(found.ranked) else "",
        f"{len(found.diverged)} diverged trials have no score and no line." if found.diverged else "",
    ]  # fmt: skip
    return [Charts([chart], " ".join(filter(None, notes)))]


def against_values(found: Found) -> Sequence[Block]:
    """A cloud for each field."""
    if found.best is None:
        raise LeftOut(NONE_YET)
    trials, ranks = _thinned(found), rank_of(found)
    charts = [
        drawing.cloud(
            _axis(found, path, trials),
            [trial.score or 0.0 for trial in trials],
            [ranks[trial.id] for trial in trials],
            diverged=_axis(found, path, found.diverged[:MOST_LINES]).places,
            y=found.search.metric,
            low_is_good=found.search.minimises,
        )
        for path in _by_importance(found)[:MOST_CLOUDS]
    ]
    more = f" The {MOST_CLOUDS} most important of {len(found.search.space)} fields." if len(found.search.space) > MOST_CLOUDS else ""  # fmt: skip
    crosses = " Crosses at the edge diverged." if found.diverged else ""
    return [
        Charts(charts, f"{found.search.metric}, {found.direction}; the best trial is large and orange.{crosses}{more}")
    ]


def _thinned(found: Found) -> list[TrialRecord]:
    """Trials with a score, the best first; evenly chosen where there are many."""
    ranked = [found.best, *(trial for trial in found.ranked if trial is not found.best)]
    known = [trial for trial in ranked if trial is not None]
    if len(known) <= MOST_LINES:
        return known
    return [known[number * len(known) // MOST_LINES] for number in range(MOST_LINES)]


def _axis(found: Found, path: str, trials: Sequence[TrialRecord]) -> Axis:
    scale = Scale.of(found.search.space[path])
    return Axis(path, scale, [scale.place(trial.current[path]) if path in trial.current else None for trial in trials])


def _by_importance(found: Found) -> list[str]:
    """All fields, the most important first where that is known, else in the space's order."""
    try:
        first = list(importances(found))
    except NotKnown:
        first = []
    return [*first, *(path for path in found.search.space if path not in first)]
