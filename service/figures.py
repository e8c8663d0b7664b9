"""Figures as a person reads them, in the terminal and on the page."""

from __future__ import annotations


def seconds(value: float | None) -> str:
    """`45 s`, `3:07`, `2:05:09`; `–` for None."""
    if value is None or value != value or value < 0 or value == float("inf"):
        return "–"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def size(count: float) -> str:
    """Bytes for a person: `812 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB", "MB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def short(count: float | None) -> str:
    """How many, in three digits: `950`, `12.3k`, `1.20M`; `–` for None."""
    if count is None:
        return "–"
    for unit, of in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= of * 0.9995 and (of > 1e3 or abs(count) >= 1e4 * 0.99995):
            scaled = count / of
            return f"{scaled:.{max(0, 2 - len(str(int(abs(scaled)))) + 1)}f}{unit}"
    return f"{count:,.0f}"
