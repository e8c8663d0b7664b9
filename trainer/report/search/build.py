"""A search's page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.report.assemble import write_page
from trainer.report.page import Section
from trainer.report.search.about import failures, head, searched
from trainer.report.search.best import best_trials, over_images
from trainer.report.search.fields import against_values, importance, parallel
from trainer.report.search.lineage import clones
from trainer.report.search.pictures import pictures
from trainer.search import SearchSpec, TrialRecord
from trainer.search.found import Found

SECTIONS: tuple[Section[Found], ...] = (
    Section(
        "best",
        "Best trials",
        "Trials by score, the best with a star: scores closer to each other than their spread are no difference.",
        best_trials,
    ),
    Section(
        "pictures",
        "What the best trials draw",
        "The newest samples of the best trials, from the same latents: whether a better score is a better picture is for the eye.",
        pictures,
    ),
    Section(
        "scores",
        "Scores over the training",
        "Each line is a trial: lines that cross late say that stopping early would have been wrong, a best-so-far that no longer "
        "moves says that more trials of this space will hardly help.",
        over_images,
    ),
    Section(
        "importance",
        "What matters",
        "A field with a large share decides between good and bad trials; one with a small share can be left as it is.",
        importance,
    ),
    Section(
        "parallel",
        "Values of good and bad trials",
        "Each line is a trial: where the strong lines bundle on an axis, good trials agree on the value; where they spread, it matters little.",
        parallel,
    ),
    Section(
        "fields",
        "Score against each field",
        "Each dot is a trial: a valley or a slope says where good values lie, and good dots at an edge that the range should be wider.",
        against_values,
    ),
    Section(
        "lineage",
        "Who took over whom",
        "Trials that many others come from had the better state; values that survive were good at that time of the training.",
        clones,
    ),
    Section(
        "failures",
        "What went wrong",
        "Diverged trials with one value in common say where the space is too wide.",
        failures,
    ),
    Section("searched", "What was searched", "All that is needed to search again: same seed, same trials.", searched),
)


def write_search_report(
    search: SearchSpec,
    trials: Sequence[TrialRecord],
    folder: Path,
    *,
    search_id: str | None = None,
    source: Path | None = None,
) -> Path:
    """Write `report.html` into `folder`, replacing an older one; a reader sees a whole page. Returns its path.

    The search may still run, and may have no trial yet: what can't be shown is named with the reason. search_id: as the
    service knows it, for the command that goes on with the best trial. source: the search's folder, for the pictures of its trials. Raises OSError.
    """
    found = Found(search, sorted(trials, key=lambda trial: trial.number), search_id, source)
    return write_page(head(found), found, folder, SECTIONS)
