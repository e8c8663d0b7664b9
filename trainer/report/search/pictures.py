"""What the best trials draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.report.errors import LeftOut
from trainer.report.grids import kept, strip_of
from trainer.report.page import Block, Row, Sheet
from trainer.report.search.best import NONE_YET
from trainer.search import TrialRecord
from trainer.search.found import Found
from trainer.search.trial import trial_dir
from trainer.wire import GRIDS

MOST = 5


def pictures(found: Found) -> Sequence[Block]:
    """A strip for each of the best trials, from its newest grid that can be read."""
    if not found.ranked:
        raise LeftOut(NONE_YET)
    if found.folder is None:
        raise LeftOut("the folders of the trials are not at hand")
    rows = [row for trial in found.ranked[:MOST] if (row := _row(found, found.folder, trial)) is not None]
    if not rows:
        raise LeftOut("no trial has kept a sample grid")
    return [Sheet(rows, caption="A column is one latent, the same in all trials that have such latents.")]


def _row(found: Found, folder: Path, trial: TrialRecord) -> Row | None:
    grids = kept(trial_dir(folder, trial.id) / GRIDS)
    for step in sorted(grids, reverse=True):
        strip = strip_of(grids[step])
        if strip is not None:
            facts, picture = strip
            name = f"★ {trial.id}" if trial is found.best else trial.id
            return Row(name, picture, f"{found.search.metric} {trial.score:.4g}, after {facts.images:,} images")
    return None
