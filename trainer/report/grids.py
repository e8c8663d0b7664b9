"""Sample grids that were kept in a training's folder, as strips for a page. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from trainer.images import GridFacts, grid_facts, tiles
from trainer.report.pictures import Picture, strip

COLUMNS = 10
"""Images of a strip."""


def kept(folder: Path) -> dict[int, Path]:
    """Grids by their step; of a folder that isn't there none."""
    named = ((path.stem.rpartition("-")[2], path) for path in folder.glob("step-*.png"))
    return {int(number): path for number, path in named if number.isdecimal()}


def strip_of(path: Path) -> tuple[GridFacts, Picture] | None:
    """Ten images of a grid: the first of each row, whose rows are classes or codes where there are any, then the second.

    None for a grid that can't be read or doesn't say what it shows.
    """
    try:
        with path.open("rb") as file:
            facts = grid_facts(file)
            if facts is None:
                return None
            images = tiles(file, facts, _numbers(facts))
    except (OSError, ValueError):
        return None
    return facts, strip(images, f"samples after {facts.images:,} images", COLUMNS)


def _numbers(facts: GridFacts) -> list[int]:
    order = (row * facts.columns + column for column in range(facts.columns) for row in range(facts.rows))
    return [number for number in order if number < facts.count][:COLUMNS]
