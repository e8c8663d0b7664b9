"""The tables of docs/serving.md, from `benchmarks/results/serving.json` alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

LATENCY = {
    "one image, in a process": "process",
    "one image, asked by version": "version",
    "one image, asked by alias": "alias",
}


def table(path: Path) -> str:
    """Markdown: latency of one image, images a second, then starts and memory."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return "\n\n".join(
        (
            _table(("one image, p50 (p99) in ms", "in a process", "by version", "by alias"), _latency(rows)),
            _table(("images a second", "a question", "in a process", *_crowds(rows), "16 clients: of a process"), _rates(rows)),
            _table(("until", "seconds"), _times(rows)),
            _table(("memory, MB", "controller", "proxy", "replica"), _memory(rows)),
        )
    )  # fmt: skip


def _latency(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if "latency" in row:
            name = f"{row['model']}, {row['resolution']} px, weights {row['weights_mb']:g} MB"
            found.setdefault(name, {})[LATENCY[row["latency"]]] = f"{row['p50_ms']:g} ({row['p99_ms']:g})"
    return [(name, *(figures[who] for who in LATENCY.values())) for name, figures in found.items()]


def _crowds(rows: Sequence[dict[str, Any]]) -> list[str]:
    counts = sorted({row["clients"] for row in rows if "load" in row})
    return [f"{count} client{'s' if count > 1 else ''}" for count in counts]


def _rates(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    counts = sorted({row["clients"] for row in rows if "load" in row})
    found = []
    for share in (row for row in rows if "share" in row):
        name = share["share"]
        alone = median(row["images_per_s"] for row in rows if row.get("alone") == name)
        cells = []
        for count in counts:
            rates = [row["images_per_s"] for row in rows if row.get("load") == name and row["clients"] == count]
            cells.append(f"{median(rates):.3g}" if rates else "–")
        found.append((name, str(share["n"]), f"{alone:.3g}", *cells, f"{share['of_a_process']:.0%}"))
    return found


def _times(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    starts = [(f"{row['start']}: {row['model']}", str(row["seconds"])) for row in rows if "start" in row]
    return starts + [(row["scale"], str(row["seconds"])) for row in rows if "scale" in row]


def _memory(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    parts = ("controller_mb", "proxy_mb", "replica_mb")
    return [(row["memory"], *(f"{row[part]:.0f}" for part in parts)) for row in rows if "memory" in row]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows))
