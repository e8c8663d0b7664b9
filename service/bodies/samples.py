"""Bodies about sample grids."""

from __future__ import annotations

from datetime import datetime

from service.bodies.base import Reply


class Tiles(Reply):
    """How the images of a grid lie in it: in rows, numbered from 0, row by row."""

    count: int
    columns: int
    height: int
    """Pixels of one image, as G draws it; in the grid small ones are enlarged."""
    width: int


class SampleGrid(Reply):
    """A sample grid that is kept."""

    step: int
    images: int | None
    """Real images shown when it was drawn; null where its file doesn't say."""
    bytes: int
    drawn_at: datetime
    tiles: Tiles | None
    """Null where its file doesn't say; then it can't be had image by image."""
    url: str
    """Path of the PNG as it is now: what it answers never changes."""
