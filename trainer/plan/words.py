"""Amounts as people read them. Torch-free."""

from __future__ import annotations


def amount(size: float) -> str:
    """Bytes: `5.3 MiB`, `812 MiB`, `12.4 GiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    index = 0
    while abs(size) >= 1024 and index < len(units) - 1:
        size, index = size / 1024, index + 1
    digits = 1 if index > 2 or (index and abs(size) < 10) else 0
    return f"{size:.{digits}f} {units[index]}"


def large(value: float, unit: str) -> str:
    """With a decimal prefix: `1.23 TFLOP`."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 1000:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:.3g} E{unit}"


def duration(seconds: float) -> str:
    """`12 ms`, `3.4 s`, `25 min`, `7.5 h`, `12 days`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{seconds / size:.3g} {unit}"
    days = seconds / 86400
    return f"{days:.3g} days" if days < 1000 else f"{days:,.0f} days"
