"""How the samples grew up: the kept grids, whose latents are the same at every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.report.errors import LeftOut
from trainer.report.grids import kept, strip_of
from trainer.report.history import Curve
from trainer.report.page import Block, Row, Sheet
from trainer.report.subject import Subject

MOST_ROWS = 8


def timeline(subject: Subject) -> Sequence[Block]:
    """The same latents at the training's evaluations, or at even steps where it has fewer; first and last among them."""
    if subject.grids is None:
        raise LeftOut("the grids are kept in the job's folder; the job's own page shows them")
    files = kept(subject.grids)
    scored = {step for curve in subject.history.scores.values() for step in curve.steps}
    rows = [row for step in chosen(sorted(files), scored) if (row := _row(subject, files[step], step)) is not None]
    if len(rows) < 2:
        raise LeftOut("fewer than two sample grids were kept; samples.every_steps asks for more")
    of_all = f"{len(rows)} of the {len(files)} grids that are kept" if len(rows) < len(files) else "All grids"
    return [Sheet(rows, caption=f"{of_all}; a column is one latent, the same all the way down.")]


def chosen(steps: Sequence[int], scored: set[int]) -> list[int]:
    """Which grids: evenly from the first to the last, each place taken by the nearest one that was scored if one is near.

    steps: ascending. At most MOST_ROWS of them, ascending.
    """
    if len(steps) <= MOST_ROWS:
        return list(steps)
    last = len(steps) - 1
    places = [number * last // (MOST_ROWS - 1) for number in range(MOST_ROWS)]
    reach = last / (MOST_ROWS - 1) / 2
    found = []
    for place in places:
        near = [index for index, step in enumerate(steps) if step in scored and abs(index - place) < reach]
        ends = place in (0, last)
        found.append(place if ends or not near else min(near, key=lambda index: abs(index - place)))
    return [steps[index] for index in sorted(set(found))]


def _row(subject: Subject, path: Path, step: int) -> Row | None:
    """None for a grid that can't be read."""
    found = strip_of(path)
    if found is None:
        return None
    facts, picture = found
    return Row(f"{facts.images:,} images", picture, _scores(subject.history.scores, step))


def _scores(curves: Mapping[str, Curve], step: int) -> str:
    known = {name: curve.values[curve.steps.index(step)] for name, curve in curves.items() if step in curve.steps}
    return ", ".join(f"{name} {value:.4g}" for name, value in known.items())
