"""Writes the README's tables from `benchmarks/results/`, so that they quote nothing else.

`python -m benchmarks.readme` rewrites them; `--check` only says whether they are up to date (exit status 1 if not).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.reproduce import rows

README = Path(__file__).parent.parent / "README.md"
RESULTS = Path(__file__).parent / "results"
BENCHMARKS, REPRODUCTION = "benchmarks", "reproduction"
"""Names in the markers around each table."""


def table(results: Path = RESULTS) -> str:
    """Markdown: a line for every target of every full (not quick) result; equalities (digests) are one line together."""
    lines = ["| benchmark | what | target | measured | holds | commit |", "|---|---|---|---|---|---|"]
    for path in sorted(results.glob("*.json")):
        report = json.loads(path.read_text())
        if report.get("quick") or "targets" not in report:
            continue
        for target in _joined(report["targets"]):
            command = f"`python -m benchmarks.{report['benchmark']}`"
            cells = (command, target["name"], target["target"], _figure(target["measured"]), _yes(target["holds"]))
            escaped = (cell.replace("|", r"\|") for cell in (*cells, f"`{_commit(report['commit'])}`"))
            lines.append("| " + " | ".join(escaped) + " |")
    return "\n".join(lines)


def updated(readme: str, lines: str, name: str = BENCHMARKS) -> str:
    """The README with the table between the markers of `name`. Raises ValueError if a marker is missing."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in readme or end not in readme:
        raise ValueError(f"the README lacks the markers {begin} and {end}")
    head, _, rest = readme.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{lines}\n{end}{tail}"


def drawn(text: str) -> str:
    """The README with both tables as the results are now."""
    return updated(updated(text, table()), rows.table(RESULTS / "reproduce"), REPRODUCTION)


def write() -> None:
    """Rewrite the README's tables."""
    README.write_text(drawn(README.read_text()))


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
        return f"{value:.3g}"
    text = str(value)
    return text if len(text) <= 20 else text[:12] + "…"


def _yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


def main() -> int:
    """Rewrite or check; exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the table is out of date")
    options = parser.parse_args()
    if options.check:
        return int(drawn(README.read_text()) != README.read_text())
    write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
