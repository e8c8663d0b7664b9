"""In which order those start that wait: by priority with ageing. Pure.

The effective priority of a run is its own and one more for each hour since it was submitted: `effective`. Who has more goes first. For what
its owner has used and has in hand it may count as submitted later (`service.runs.share`).

All age alike, so of two runs it is always the same one that has more, whenever one looks: the order follows from a number that
each run has from its submission on (`place`), and changes only when someone changes a priority. So a line that was decided of stays
decided, and no round costs anything because time has passed. Of one priority the longest waiter is always the first; and one of
priority 0 waits at most a hundred hours longer than one that would be the most urgent of all: nobody starves.
"""

from __future__ import annotations

from datetime import datetime

from trainer.spec.queue import MOST_PRIORITY

SECONDS_PER_POINT = 3600
"""So much waiting counts as one more of priority."""
SECOND = 1_000_000
"""Places and arrivals are counted in microseconds, as whole numbers: no two orders of the same by rounding."""
POINT = SECONDS_PER_POINT * SECOND
MOST_SKEW = 3600 * SECOND
"""By so much a clock may have been set back, or another machine's may be ahead, without anyone losing their turn."""


def effective(priority: int, waited: float) -> float:
    """The priority that a run has after so many seconds."""
    return priority + waited / SECONDS_PER_POINT


def place(arrived: int, priority: int, delay: int = 0) -> int:
    """What the line is sorted by, the smallest first; of equal ones the earlier number is.

    At any time it orders as `effective` does, the highest first. arrived: microseconds of Unix time. delay: it counts as that much later.
    """
    if not 0 <= priority <= MOST_PRIORITY:
        raise ValueError(f"priority {priority} is not in 0..{MOST_PRIORITY}")
    return arrived + delay - priority * POINT


def arrived(place: int, priority: int, delay: int = 0) -> int:
    """The arrival that such a place was made of."""
    return place + priority * POINT - delay


def arrival(now: datetime, newest: int | None) -> int:
    """When one that is submitted now has arrived, in microseconds of Unix time: never before the newest that is there.

    So the order of arrival is that of the numbers, whatever happens to clocks; unless one was wrong by more than `MOST_SKEW`, which is
    not believed. newest: the arrival of the run that was submitted last.
    """
    mine = int(now.timestamp() * SECOND)
    return newest if newest is not None and mine < newest <= mine + MOST_SKEW else mine
