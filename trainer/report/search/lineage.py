"""Population-based training: who took over whom."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.report.errors import LeftOut
from trainer.report.page import Block, Charts, Table, Text
from trainer.report.search import drawing
from trainer.report.search.about import MOST_ROWS
from trainer.search import TrialClone, TrialRecord
from trainer.search.found import Found
from trainer.search.values import changed

MOST_TRIALS = 60
MOST_ARROWS = 300


def clones(found: Found) -> Sequence[Block]:
    """A picture of the population with an arrow for each clone, and a table of them."""
    if found.search.algorithm != "pbt":
        raise LeftOut(f"the algorithm is {found.search.algorithm}, and only pbt lets trials take over others")
    made = sorted(
        ((trial, number) for trial in found.trials for number in range(len(trial.clones))),
        key=lambda one: (one[0].clones[one[1]].images, one[0].number),
    )
    if not made:
        raise LeftOut("no trial has taken over another one's state yet")
    rows = [_row(trial, number) for trial, number in made[-MOST_ROWS:]]
    changes = "values: the trial's own before → those it goes on with"
    cut = f" The newest {MOST_ROWS} are listed." if len(made) > MOST_ROWS else ""
    return [
        Text(f"{len(made)} times a trial took over another one's nets, averages and optimisers.{cut}"),
        *_picture(found, [(trial, trial.clones[number]) for trial, number in made]),
        Table(rows, ("trial", "at images", "took over", "its state of step", changes)),
        *_ancestry(found),
    ]


def _row(trial: TrialRecord, number: int) -> tuple[str, ...]:
    clone = trial.clones[number]
    before = trial.clones[number - 1].values if number else trial.values
    return trial.id, f"{clone.images:,}", clone.source, f"{clone.step:,}", changed(before, clone.values)


def _picture(found: Found, made: Sequence[tuple[TrialRecord, TrialClone]]) -> list[Block]:
    """Left out, saying so, for a population that no picture can show."""
    if len(found.trials) > MOST_TRIALS or len(made) > MOST_ARROWS:
        return [
            Text(f"The picture is left out: {len(found.trials)} trials and {len(made)} clones would cover each other.")
        ]
    row = {trial.id: number for number, trial in enumerate(found.trials)}
    rows = [(trial.id, float(trial.images), trial is found.best) for trial in found.trials]
    arrows = [(row[clone.source], row[trial.id], float(clone.images)) for trial, clone in made if clone.source in row]
    caption = (
        "An arrow begins at the trial whose state was taken and points to the one that took it. Orange: the best trial."
    )
    return [Charts([drawing.lineage("Who took over whom", rows, arrows)], caption)]


def _ancestry(found: Found) -> list[Block]:
    """The best trial's state, traced back to a trial that began by itself."""
    if found.best is None or not (before := found.ancestry(found.best)):
        return []
    chain = [found.best.id, *(f"{source} (at {images:,} images)" for source, images in before)]
    return [Text(f"The best trial's nets came from: {' ← '.join(chain)}.")]
