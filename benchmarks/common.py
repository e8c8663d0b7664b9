"""What every benchmark shares: its arguments, the facts about machine and build, its table and its JSON.

>>> parser = arguments("step", "Time per step of each family.")
>>> parser.add_argument("--families", nargs="*")
>>> options = parser.parse_args()
>>> report = Report("step", options)
>>> report.row(family="dcgan", milliseconds=12.3)
>>> report.at_most("data + sinks + host overhead, DCGAN-64", 0.05, measured=0.021, unit="of a step")
>>> raise SystemExit(report.finish())
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

PACKAGES = (
    "torch", "numpy", "scipy", "pillow", "accelerate", "webdataset", "safetensors", "fsspec", "ray", "mlflow", "fastapi",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results"


def arguments(benchmark: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have: --quick, --out, --seed."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark}", description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes: checks that it runs, not how fast it is")
    parser.add_argument("--out", type=Path, default=None, help=f"JSON to write (default: results/{benchmark}.json)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    return parser


class Report:
    """Collects rows and targets, then prints tables and writes the JSON.

    `options` is what `arguments(...).parse_args()` gave. A quick run writes `results/NAME-quick.json` by default, so
    that it never overwrites figures that are quoted.
    """

    def __init__(self, benchmark: str, options: argparse.Namespace) -> None:
        self.benchmark = benchmark
        self.seed: int = options.seed
        self.quick: bool = options.quick
        self.out: Path = options.out or RESULTS / f"{benchmark}{'-quick' if options.quick else ''}.json"
        self.notes: list[str] = []
        self.more: dict[str, Any] = {}
        """Goes into the JSON beside the rows, and into no table."""
        self._commit = commit()  # of the code that ran, should somebody commit meanwhile
        self._rows: list[dict[str, Any]] = []
        self._targets: list[dict[str, Any]] = []

    def row(self, **values: Any) -> None:
        """One measured line; values are JSON scalars."""
        self._rows.append(values)

    def note(self, text: str) -> None:
        """Something a reader of the figures must know (which data, what was left out)."""
        self.notes.append(text)

    def at_least(self, name: str, bound: float, *, measured: float, unit: str = "") -> None:
        """A target that holds if `measured` ≥ `bound`."""
        self._target(name, f"≥ {bound:g} {unit}".strip(), measured, measured >= bound)

    def at_most(self, name: str, bound: float, *, measured: float, unit: str = "") -> None:
        """A target that holds if `measured` ≤ `bound`."""
        self._target(name, f"≤ {bound:g} {unit}".strip(), measured, measured <= bound)

    def equal(self, name: str, expected: Any, *, measured: Any) -> None:
        """A target that holds if both are equal (digests, counts)."""
        self._target(name, f"= {expected}", measured, measured == expected)

    def _target(self, name: str, target: str, measured: Any, holds: bool) -> None:
        self._targets.append({"name": name, "target": target, "measured": measured, "holds": bool(holds)})

    def as_json(self) -> dict[str, Any]:
        """The whole report as it is written."""
        return {
            "benchmark": self.benchmark,
            "commit": self._commit,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": self.quick,
            "machine": machine(),
            "versions": versions(),
            "seed": self.seed,
            "notes": self.notes,
            "rows": self._rows,
            "targets": self._targets,
            **self.more,
        }

    def finish(self) -> int:
        """Print the tables, write the JSON; 0 if every target holds, else 1 (always 0 with --quick)."""
        report = self.as_json()
        console = Console()
        for _, alike in groupby(self._rows, key=lambda row: row.keys()):  # what has other columns is a table of its own
            console.print(_table(self.benchmark, list(alike)))
        if self._targets:
            console.print(_table("targets", self._targets))
        for note in self.notes:
            console.print(f"note: {note}", markup=False, highlight=False)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        console.print(f"written: {self.out}", markup=False, highlight=False)
        return 0 if self.quick or all(target["holds"] for target in self._targets) else 1


def commit() -> str:
    """The commit that ran, with `-dirty` if tracked files differ from it; `unknown` outside a git checkout."""
    here = Path(__file__).parent
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True, timeout=30,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def machine() -> dict[str, Any]:
    """CPU, cores this process may use, memory, GPU and load; nothing that names the host."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": _gpu(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Python and the libraries that the figures depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpu() -> str | None:
    torch = sys.modules.get("torch")  # a benchmark that never imported it has used no GPU
    return torch.cuda.get_device_name(0) if torch is not None and torch.cuda.is_available() else None


def _table(title: str, lines: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for line in lines for key in line))
    table = Table(title=title)
    for column in columns:
        numeric = all(isinstance(line.get(column, 0), int | float) for line in lines)
        table.add_column(column, justify="right" if numeric else "left")
    for line in lines:
        table.add_row(*(_cell(line.get(column, "")) for column in columns))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return (
        f"{value:.4g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
