"""What templates write figures and times with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from markupsafe import Markup

from service import figures
from trainer.search.values import shown


def ago(moment: datetime | None) -> str | Markup:
    """`3:07 ago`, with the moment itself to point at; a script keeps it true."""
    if moment is None:
        return "–"
    passed = (datetime.now(UTC) - moment).total_seconds()
    told = f"{coarse(passed)} ago" if passed >= 1 else "now"
    return _time(moment, told, "ago")


def until(moment: datetime | None) -> str | Markup:
    """`in 3:07`, the same for what is to come."""
    if moment is None:
        return "–"
    left = (moment - datetime.now(UTC)).total_seconds()
    return _time(moment, f"in {coarse(left)}" if left >= 1 else "now", "until")


def clock(moment: datetime | None) -> str | Markup:
    """`2026-12-01 04:17`; the browser shows it in its own time zone."""
    return "–" if moment is None else _time(moment, f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC", "clock")


def _time(moment: datetime, told: str, kind: str) -> Markup:
    exact = moment.astimezone(UTC)
    return Markup('<time datetime="{}" data-time="{}" title="{}">{}</time>').format(
        f"{exact:%Y-%m-%dT%H:%M:%SZ}", kind, f"{exact:%Y-%m-%d %H:%M:%S} UTC", told
    )


def coarse(seconds: float) -> str:
    """A length of time in its largest unit: `45 s`, `12 min`, `3.5 h`, `4 days`. What changes every second is a nuisance to read."""
    span = timedelta(seconds=max(0.0, seconds))
    if span < timedelta(minutes=1):
        return f"{seconds:.0f} s"
    if span < timedelta(hours=1):
        return f"{seconds // 60:.0f} min"
    if span < timedelta(days=2):
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def score(value: object) -> str:
    """Four digits; what is no number as it is."""
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def spread(value: float | None) -> str:
    """Of a score: two digits."""
    return f"{value or 0.0:.2g}"


def percent(share: float) -> str:
    """`15 %`; not 100 % before it is whole."""
    return f"{min(99, int(share * 100)) if share < 1 else 100} %"


def exact(count: float | None) -> str:
    """`1,234,567`."""
    return "–" if count is None else f"{count:,.0f}"


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "until": until,
    "clock": clock,
    "coarse": coarse,
    "seconds": figures.seconds,
    "size": figures.size,
    "short": figures.short,
    "exact": exact,
    "score": score,
    "spread": spread,
    "value": shown,
    "percent": percent,
}


def without_password(url: str) -> str:
    """The URL as everybody may see it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
