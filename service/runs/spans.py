"""How long runs will take yet: from what they say of themselves, else from how long runs like them took. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from service.runs.forecast import OPEN, Span
from service.runs.room import Need

FASTER, SLOWER, LATEST = 0.9, 1.2, 60.0
"""A run that says when it ends does so within these shares of the time left, or so many seconds later: evaluation and publishing come
behind the last image, and whatever else the machine does."""
DAY = timedelta(days=1)
"""Who came within it comes again, as far as anyone knows: teams work by day."""
LIKE = 3
"""Of so many runs like it, how long one takes is taken from their range; of fewer, from twice as wide a one."""


class Length(NamedTuple):
    """Of a run that has succeeded."""

    name: str
    images: float
    seconds: float


class Came(NamedTuple):
    """A run that was submitted of late."""

    owner: str
    need: Need
    priority: int
    created_at: datetime
    seconds: float
    """That it takes."""


class Pace(NamedTuple):
    """Seconds for an image, from the fastest to the slowest of the runs like it."""

    low: float
    high: float


def pace(lengths: Sequence[Length], name: str) -> Pace | None:
    """Of runs of one family, those of that name if there are enough; None if nothing is known."""
    usable = [item for item in lengths if item.images > 0 and item.seconds > 0]
    named = [item for item in usable if item.name == name]
    each = sorted(item.seconds / item.images for item in (named if len(named) >= LIKE else usable))
    if not each:
        return None
    wide = 1.25 if len(each) >= LIKE else 2.0
    return Pace(each[0] / wide, each[-1] * wide)


def told(progress: Mapping[str, Any] | None) -> float | None:
    """Seconds until its end, as the run says; None if it doesn't."""
    if not progress:
        return None
    eta, speed = progress.get("eta_seconds"), progress.get("images_per_second")
    if eta is None and speed and progress.get("total_images"):
        eta = (progress["total_images"] - progress.get("images", 0)) / speed
    return max(0.0, float(eta)) if eta is not None and math.isfinite(eta) else None


def left(seconds: float | None, likely: Pace | None, images: float | None, ran: float, most: float | None) -> Span:
    """How long a run goes on.

    seconds: what it told. likely: of runs like it. images: how many it is to be shown in all. ran: seconds on the cluster so far.
    most: seconds that its limits leave it.
    """
    if seconds is not None:
        span = Span(FASTER * seconds, SLOWER * seconds + LATEST)
    elif likely is not None and images is not None:
        span = Span(max(0.0, likely.low * images - ran), max(0.0, likely.high * images - ran) + LATEST, True)
    else:
        span = OPEN
    if most is None:
        return span
    return Span(min(span.early, most), min(span.late, most + LATEST), span.guess)
