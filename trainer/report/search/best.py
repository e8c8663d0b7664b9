"""The best trials, and all trials over the images that they were shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby

from pydantic import JsonValue

from trainer.report.errors import LeftOut
from trainer.report.page import Block, Charts, Code, Table, Text
from trainer.report.search import drawing
from trainer.report.search.about import MOST_ROWS, values_text
from trainer.search import TrialRecord, TrialState
from trainer.search.found import Found
from trainer.search.space import applied, at
from trainer.search.values import shown
from trainer.spec import SpecError, dump_spec

MOST_LINES = 300
"""Trials that are drawn; of more, evenly chosen from the best to the worst."""
MOST_COLUMNS = 6
"""Fields that have a column each."""
NONE_YET = "no trial has a score yet"


def best_trials(found: Found) -> Sequence[Block]:
    """Trials by score, and how to go on with the best."""
    best = found.best
    if best is None:
        raise LeftOut(NONE_YET)
    paths = list(found.search.space)
    columns = paths if len(paths) <= MOST_COLUMNS else []
    rows = [
        (
            f"★ {trial.id}" if trial is best else trial.id,
            trial.state.value,
            f"{trial.score:.4g} ± {trial.spread:.2g}",
            f"{trial.images:,}",
            *_cells(trial.current, columns),
        )
        for trial in found.ranked[:MOST_ROWS]
    ]
    unscored = len(found.trials) - len(found.ranked)
    notes = [
        f"the first {MOST_ROWS} of {len(found.ranked)}" if len(found.ranked) > MOST_ROWS else "",
        f"{unscored} without a score are not listed" if unscored else "",
        "it may still change: trials run" if any(not trial.state.ended for trial in found.trials) else "",
    ]
    said = "; ".join(filter(None, notes))
    table = Table(rows, ("trial", "state", f"{found.search.metric} ± spread", "images", *(columns or ["values"])))
    return [*([Text(f"{said[0].upper()}{said[1:]}.")] if said else []), table, *_onwards(found, best)]


def _cells(values: Mapping[str, JsonValue], columns: Sequence[str]) -> list[str]:
    """A value a column; without columns one cell of them all. A field that the trial doesn't use has a dash."""
    return [shown(values[path]) if path in values else "–" for path in columns] or [values_text(values)]


def _onwards(found: Found, best: TrialRecord) -> list[Block]:
    """What the best trial changed, and the command that trains it for longer."""
    base = found.search.base.model_dump(mode="json")
    rows = [
        (place, shown(_base_value(base, place)), shown(value))
        for path, value in best.current.items()
        for place in (path, *(found.search.space[path].also if path in found.search.space else ()))
    ]
    blocks: list[Block] = [Table(rows, ("field", "base", best.id), caption="What the best trial changes")]
    try:
        spec = dump_spec(applied(found.search.base, found.search.space, best.current))
    except (SpecError, KeyError):  # the space was changed since the trial was drawn
        spec = ""
    if found.id:
        command = f"agon submit --from-trial {shlex.quote(f'{found.id}/{best.id}')}"
        blocks += [
            Text("To train it for longer from its checkpoint (with --scratch: from the beginning):"),
            Code("", command),
        ]
    elif spec:
        blocks += [Text("To train it, save its spec (below) as best.yaml:"), Code("", "agon submit best.yaml")]
    return [*blocks, Code(f"The spec of {best.id}", spec)] if spec else blocks


def _base_value(base: object, path: str) -> JsonValue:
    try:
        value: JsonValue = at(base, path)
    except KeyError:
        return "–"
    return value


def over_images(found: Found) -> Sequence[Block]:
    """Every trial's scores, and the best so far over all images."""
    with_results = [trial for trial in found.trials if trial.results]
    if not with_results:
        raise LeftOut(NONE_YET)
    ranks = rank_of(found)
    order = sorted(with_results, key=lambda trial: ranks.get(trial.id, 1.0))
    chosen = (
        [order[number * len(order) // MOST_LINES] for number in range(MOST_LINES)] if len(order) > MOST_LINES else order
    )
    paths = [
        drawing.Path(
            trial.id,
            [result.images for result in trial.results],
            [result.score for result in trial.results],
            ranks.get(trial.id, 1.0),
            best=trial is found.best,
            end=trial.state.value if trial.state in (TrialState.STOPPED, TrialState.DIVERGED) else "",
        )
        for trial in chosen
    ]
    metric = found.search.metric
    stopped = sum(path.end == "stopped" for path in paths)
    diverged = sum(path.end == "diverged" for path in paths)
    of = f" {MOST_LINES} of {len(order)} trials are drawn." if len(order) > MOST_LINES else ""
    caption = (
        f"{metric}, {found.direction}. The best trial is orange, the others the stronger the better. A bar ends a trial that was "
        f"stopped early ({stopped}), a cross one that diverged ({diverged}).{of}"
    )
    blocks: list[Block] = [Charts([drawing.trajectories(f"{metric} of each trial", paths, y=metric)], caption)]
    spent, best = best_so_far(found)
    if len(spent) > 1:
        alone = "one trial after the other, in the order of their numbers"
        how = "trials side by side, as in a population" if found.search.algorithm == "pbt" else alone
        chart = drawing.progress(f"Best {metric} so far", spent, best, y=metric)
        blocks.append(Charts([chart], f"Images are added up with {how}; those of diverged trials count."))
    return blocks


def best_so_far(found: Found) -> tuple[list[float], list[float]]:
    """(images spent over all trials, best score until then) at each evaluation of a trial that did not diverge or fail.

    Records hold no common clock, so a population counts as trained side by side, and other trials as trained one after the other.
    """
    points: list[tuple[float, float]] = []
    good = [trial for trial in found.trials if trial.state not in (TrialState.DIVERGED, TrialState.FAILED)]
    if found.search.algorithm == "pbt":
        results = sorted((result.images, result.score) for trial in good for result in trial.results)
        points = [(float(sum(min(trial.images, images) for trial in found.trials)), score) for images, score in results]
    else:
        before = 0
        for trial in found.trials:
            if trial in good:
                points += [(float(before + result.images), result.score) for result in trial.results]
            before += trial.images
    spent: list[float] = []
    best: list[float] = []
    for at_images, same in groupby(points, key=lambda point: point[0]):
        scores = [score for _, score in same] + best[-1:]
        spent.append(at_images)
        best.append(min(scores) if found.search.minimises else max(scores))
    return spent, best


def rank_of(found: Found) -> dict[str, float]:
    """Trials with a score by their share of better ones: 0 for the best … 1 for the worst."""
    last = max(1, len(found.ranked) - 1)
    return {trial.id: number / last for number, trial in enumerate(found.ranked)}
