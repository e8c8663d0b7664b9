"""When a message is sent again, by what came of it (Standard Webhooks 1.0, "Retry schedule" and "Responses"). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

MINUTE, HOUR = 60.0, 3600.0
DELAYS = (0.0, 5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Seconds before each attempt, from the one before it: ten attempts over 75 hours and 35 minutes."""
JITTER = 0.1
"""A delay grows by up to that share of it, so that what failed together doesn't come back together."""
BUSY = (429, 502, 504)
"""The receiver has too much to do: whatever is for it waits."""
BUSY_SECONDS = 30.0
"""For so long, if it doesn't say for how long."""
LONGEST_WAIT = 24 * HOUR
"""Whatever `Retry-After` says."""
GONE = 410
ASKS = (*BUSY, 503)
"""Whose `Retry-After` counts."""
FAILING = timedelta(days=5)
"""A webhook that has taken nothing for so long is switched off with the next message of which all attempts failed."""


@dataclass(frozen=True)
class Answer:
    """What came of one attempt."""

    status: int | None = None
    """None: no whole answer came."""
    error: str = ""
    """Why not, for a person."""
    retry_after: float | None = None
    """Seconds that the receiver asks to be left alone, ≥ 0."""

    @property
    def delivered(self) -> bool:
        """Whether it was taken."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def why(self) -> str:
        """Of one that was not, for a person."""
        if self.status is None:
            return self.error
        return f"answered {self.status}" + (", a redirect, which is not followed" if 300 <= self.status < 400 else "")


@dataclass(frozen=True)
class Verdict:
    """What follows."""

    delivered: bool = False
    wait: float | None = None
    """Seconds until the next attempt; None: there is none."""
    quiet: float | None = None
    """Seconds for which nothing at all is sent there; None: it asks for nothing."""
    gone: bool = False
    """It wants no more messages, ever."""


def judge(attempts: int, answer: Answer, jitter: float, most: int = len(DELAYS)) -> Verdict:
    """After that many attempts, this one included (≥ 1). jitter: drawn from [0, 1). most: attempts that are made at all."""
    if answer.delivered:
        return Verdict(delivered=True)
    if answer.status == GONE:
        return Verdict(gone=True)
    quiet = _quiet(answer)
    if attempts >= min(most, len(DELAYS)):
        return Verdict(quiet=quiet)
    delay = DELAYS[attempts] * (1 + JITTER * jitter)
    return Verdict(wait=max(delay, quiet or 0.0), quiet=quiet)


def _quiet(answer: Answer) -> float | None:
    if answer.status not in ASKS:
        return None
    if answer.retry_after is None:
        return BUSY_SECONDS if answer.status in BUSY else None
    return min(answer.retry_after, LONGEST_WAIT)
