"""Writes the documents' tables of results from `benchmarks/results/`, so that they quote nothing else.

`python -m benchmarks.tables` rewrites them in the documents of `TABLES`; `--check` only says whether they are up to date (exit
status 1 if not).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.page import table as page
from benchmarks.reproduce import rows
from benchmarks.reproduce.figures import shown
from benchmarks.serving import table as serving

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
FIGURES = {
    "resume": ("", "N steps, a restart and M steps end in the bits of N + M steps"),
    "queue": ("a round that decides of all 10000 waiting jobs on 64 nodes", "who of 10,000 waiting jobs starts, on 64 nodes"),
    "biggan": ("128 px: ours against plain", "a training step of BigGAN at 128 px against a plain PyTorch one"),
    "reproduce/biggan-mnist": ("classifier agrees with the asked label", "BigGAN draws the digit that it is asked for"),
    "reproduce/bigan": ("1-NN test accuracy on E's last hidden layer", "BiGAN's features, after a twentieth of the paper's epochs"),
}  # fmt: skip
"""The README's five: the result's file, the name of its target (the only one if empty), and what it says to a newcomer."""


CHAOS = {
    "kills": "kills", "cut": "connections cut or late", "clock_steps": "clock steps", "jobs": "jobs", "starts": "attempts",
    "preempted": "preempted", "lost": "lost", "twice": "twice", "stuck": "stuck", "ended": "ended wrongly", "events": "events",
    "metrics": "metrics", "weights": "weights", "answers": "answers",
}  # fmt: skip
"""Columns of the table of chaos, and their heads."""


def table(results: Path = RESULTS) -> str:
    """Markdown: a line for every target of every full (not quick) result; equalities (digests) are one line together."""
    lines = ["| benchmark | what | target | measured | holds | commit |", "|---|---|---|---|---|---|"]
    for path in sorted(results.glob("*.json")):
        report = json.loads(path.read_text())
        if report.get("quick") or "targets" not in report:
            continue
        for target in _joined(report["targets"]):
            cells = (
                _command(report),
                target["name"],
                target["target"],
                _figure(target["measured"]),
                _yes(target["holds"]),
            )
            lines.append(_row(*cells, f"`{_commit(report['commit'])}`"))
    return "\n".join(lines)


def figures(chosen: Mapping[str, tuple[str, str]] = FIGURES, results: Path = RESULTS) -> str:
    """Markdown: the chosen results, one a line. Raises LookupError if a result has no target of that name."""
    lines = ["| what | target | measured | holds | command |", "|---|---|---|---|---|"]
    for file, (name, words) in chosen.items():
        report = json.loads((results / f"{file}.json").read_text())
        lines.append(_row(words, *(_reproduced if "figures" in report else _measured)(report, name)))
    return "\n".join(lines)


def chaos(results: Path = RESULTS) -> str:
    """Markdown: what was killed on each database with so many API processes, and how many promises were broken; then whom it met."""
    rows_ = json.loads((results / "chaos.json").read_text())["rows"]
    lines = [_row("on", *CHAOS.values()), _row(*["---"] * (1 + len(CHAOS)))]
    for row in rows_:
        if "database" in row:
            lines.append(_row(f"{row['database']}, {row['replicas']} API", *(str(row[name]) for name in CHAOS)))
    points = [row for row in rows_ if "point" in row]
    lines += ["", _row("killed", "at random", "at named points"), _row("---", "---", "---")]
    for part in dict.fromkeys(row["part"] for row in points):
        named = sum(
            row["kills"] for row in points if row["part"] == part and row["point"].startswith(("before", "after"))
        )
        lines.append(_row(part, str(sum(row["kills"] for row in points if row["part"] == part) - named), str(named)))
    lines += [_row(f"embedded stack: {row['part']}", str(row["kills"]), "0") for row in rows_ if "stack" in row]
    return "\n".join(lines)


def load(results: Path = RESULTS) -> str:
    """Markdown: what the control plane takes on each database; before: the same of an earlier commit, by the same benchmark."""
    report = json.loads((results / "control_plane.json").read_text())
    before = report.get("before", {}).get("targets", {})
    whats: dict[str, dict[str, dict[str, Any]]] = {}
    for target in report["targets"]:
        database, _, what = target["name"].partition(": ")
        whats.setdefault(what, {})[database] = target
    heads = ("what", "target", "SQLite before", "SQLite", "PostgreSQL before", "PostgreSQL")
    lines = [_row(*heads), _row(*["---"] * len(heads))]
    for what, found in whats.items():
        cells = [_cell(found.get(database), before.get(f"{database}: {what}")) for database in ("sqlite", "postgres")]
        lines.append(_row(what, next(iter(found.values()))["target"], *(cell for pair in cells for cell in pair)))
    return "\n".join(lines)


def _cell(target: dict[str, Any] | None, before: float | None) -> tuple[str, str]:
    """Before, and now: bold where it falls short."""
    then = "" if before is None else _figure(before)
    if target is None:
        return then, ""
    return then, _figure(target["measured"]) if target["holds"] else f"**{_figure(target['measured'])}**"


def updated(text: str, lines: str, name: str) -> str:
    """The document with the table between the markers of `name`. Raises ValueError if a marker is missing."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise ValueError(f"the document lacks the markers {begin} and {end}")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{lines}\n{end}{tail}"


TABLES: dict[Path, tuple[str, Callable[[], str]]] = {
    ROOT / "README.md": ("figures", figures),
    ROOT / "docs" / "benchmarks.md": ("benchmarks", table),
    ROOT / "docs" / "fault-tolerance.md": ("chaos", chaos),
    ROOT / "docs" / "operations.md": ("load", load),
    ROOT / "docs" / "page.md": ("page", lambda: page.table(RESULTS / "page.json")),
    ROOT / "docs" / "serving.md": ("serving", lambda: serving.table(RESULTS / "serving.json")),
    ROOT / "docs" / "reproduction.md": ("reproduction", lambda: rows.table(RESULTS / "reproduce")),
}
"""The document, the name in its table's markers, and what draws the table."""


def drawn(document: Path) -> str:
    """The document with its table as the results are now."""
    name, draw = TABLES[document]
    return updated(document.read_text(), draw(), name)


def write() -> None:
    """Rewrite all tables."""
    for document in TABLES:
        document.write_text(drawn(document))


def _measured(report: dict[str, Any], name: str) -> tuple[str, ...]:
    """Target, measured, holds and command of a benchmark's target."""
    found = [target for target in _joined(report["targets"]) if name in ("", target["name"])]
    if len(found) != 1:
        raise LookupError(f"{report['benchmark']} has {len(found)} targets called {name!r}")
    (target,) = found
    return target["target"], _figure(target["measured"]), _yes(target["holds"]), _command(report)


def _reproduced(result: dict[str, Any], name: str) -> tuple[str, ...]:
    """The same of a recipe's figure: the target is the paper's value, or ours where the paper has none."""
    found = [figure for figure in result["figures"] if figure["name"] == name]
    if len(found) != 1:
        raise LookupError(f"{result['recipe']} has {len(found)} figures called {name!r}")
    (figure,) = found
    target = f"{figure['paper']}, the paper's" if figure["paper"] else rows.asked(figure)
    shorter = f" ARGS='--images {result['images']}'" if result["cut"] else ""
    return target, shown(figure), _yes(figure["holds"]), f"`make reproduce RECIPE={result['recipe']}{shorter}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _command(report: dict[str, Any]) -> str:
    return f"`python -m benchmarks.{report['benchmark']}`"


def _joined(targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The targets, with those that ask for an equality (a digest each) counted in one."""
    equal = [target for target in targets if target["target"].startswith("= ")]
    if len(equal) < 2:
        return targets
    held = sum(target["holds"] for target in equal)
    together = {
        "name": f"{equal[0]['name']} … {equal[-1]['name']}: equal digests",
        "target": f"all {len(equal)}",
        "measured": held,
        "holds": held == len(equal),
    }
    return [target for target in targets if target not in equal] + [together]


def _commit(text: str) -> str:
    """Seven digits, and `-dirty` if the tree that ran was not the commit's."""
    return text[:7] + ("-dirty" if text.endswith("-dirty") else "")


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    text = str(value)
    return text if len(text) <= 20 else text[:12] + "…"


def _yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


def main() -> int:
    """Rewrite or check; exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a table is out of date")
    options = parser.parse_args()
    if options.check:
        return int(any(drawn(document) != document.read_text() for document in TABLES))
    write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
