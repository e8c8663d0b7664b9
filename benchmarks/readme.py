"""Writes the README's benchmark table from `benchmarks/results/*.json`, so that it quotes nothing else.

`python -m benchmarks.readme` rewrites the table; `--check` only says whether it is up to date (exit status 1 if not).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "README.md"
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


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
            lines.append("| " + " | ".join((*cells, f"`{_commit(report['commit'])}`")) + " |")
    return "\n".join(lines)


def updated(readme: str, lines: str) -> str:
    """The README with the table between its markers. Raises ValueError if a marker is missing."""
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"the README lacks the markers {BEGIN} and {END}")
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{lines}\n{END}{tail}"


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
    before = README.read_text()
    after = updated(before, table())
    if options.check:
        return int(before != after)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
