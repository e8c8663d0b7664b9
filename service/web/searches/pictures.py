"""Grids of trials, at equal images: each trial's that was drawn nearest to so many real images shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.runs import samples
from service.searches.samples import PATH
from trainer.search import SearchSpec, TrialRecord
from trainer.search.trial import trial_dir

MOST = 40
"""Trials whose grids are opened for one page."""


@dataclass(frozen=True)
class Picture:
    """A grid of a trial."""

    trial: TrialRecord
    step: int
    images: int
    url: str


def newest(root: Path, folder: Path, trials: Sequence[TrialRecord]) -> dict[str, list[int]]:
    """By trial, the steps of its grids, newest first; those without any are left out. folder: of the search."""
    found = {trial.id: samples.steps(root, trial_dir(folder, trial.id)) for trial in trials}
    return {trial: steps for trial, steps in found.items() if steps}


def at(
    root: Path, folder: Path, search: str, spec: SearchSpec | None, trials: Sequence[TrialRecord],
    steps: Mapping[str, Sequence[int]], images: int | None,
) -> list[Picture]:  # fmt: skip
    """One of each trial, in their order, of at most `MOST`. images: None for the newest; search: its id."""
    found = []
    for trial in [trial for trial in trials if trial.id in steps][:MOST]:
        pace = _images_a_step(trial, spec)
        known = steps[trial.id]
        step = known[0] if images is None else min(known, key=lambda one: abs(one * pace - images))
        opened = samples.at(root, trial_dir(folder, trial.id), step)
        if opened is None:  # deleted since
            continue
        opened.file.close()
        facts = opened.grid.facts
        shown = facts.images if facts is not None else round(step * pace)
        url = f"{url_of(search, trial.id)}/{step}?v={opened.grid.tag}"
        found.append(Picture(trial, step, shown, url))
    return found


def url_of(search: str, trial: str) -> str:
    """Path below which a trial's grids are asked for."""
    return PATH.format(search_id=search, trial_id=trial)


def _images_a_step(trial: TrialRecord, spec: SearchSpec | None) -> float:
    """As it was measured; before the first evaluation, by its batch."""
    measured = next((result for result in reversed(trial.results) if result.step), None)
    if measured is not None:
        return measured.images / measured.step
    batch = trial.current.get("train.batch", spec.base.train.batch if spec else 1)
    return float(batch) if isinstance(batch, int | float) else 1.0
