"""The tables of docs/page.md, from `benchmarks/results/page.json` alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WHAT = {"list": "the list of runs", "run": "a run with its newest grid"}


def table(path: Path) -> str:
    """Markdown: both pages, as they are visited first and again, then from one grid to another."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    visits = [_visited(row) for row in rows if "page" in row]
    moves = [(row["interaction"], f"{row['p50_ms']:g}", f"{row['p95_ms']:g}") for row in rows if "interaction" in row]
    heads = (
        "visit",
        "cache",
        "page",
        "first paint, ms",
        "what one came for, ms",
        "sent, KiB",
        "requests",
        "layout shift",
    )
    return "\n\n".join(
        (_table(heads, sorted(visits)), _table(("from one grid to another", "p50, ms", "p95, ms"), moves))
    )


def _visited(row: dict[str, Any]) -> tuple[str, ...]:
    figures = (
        f"{row['first_paint']:.0f}",
        f"{row['there_ms']:.0f}",
        f"{row['bytes'] / 1024:,.0f}",
        f"{row['requests']:.0f}",
    )
    return WHAT[row["what"]], row["cache"], row["page"], *figures, f"{row['shift']:g}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows))
