"""`python -m benchmarks.chaos`: what is promised while processes are killed, connections cut, clocks set and databases restarted."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.chaos.judge import PROMISES
from benchmarks.chaos.rounds import play
from benchmarks.common import Report, arguments

ROUND = 65
"""Kills in one world at most."""
QUICK = 12
NOTE = (
    "Ray is replaced at its HTTP seam: a process of ours speaks its Jobs API, keeps its jobs on disk, and starts real drivers and workers, "
    "whose training is a chain of hashes. API, reconciler, client, spool, delivery and checkpoints are the product's"
)
SUMS = ("kills", "jobs", "starts", "preempted", "cut", "clock_steps")


def main() -> int:
    """0 if all targets hold."""
    parser = arguments("chaos", __doc__ or "")
    parser.add_argument(
        "--kills", type=int, default=520, help="over all configurations (default: 520; 12 with --quick)"
    )
    parser.add_argument("--database", choices=("sqlite", "postgres"), help="this one only")
    parser.add_argument("--replicas", type=int, choices=(1, 2), help="so many API processes only")
    parser.add_argument(
        "--rounds", type=Path, help="file of rounds, to which new ones are added; those in it are not played again"
    )
    parser.add_argument(
        "--real",
        type=int,
        default=0,
        metavar="KILLS",
        help="so many of the embedded stack, too: Ray, MLflow, trainings",
    )
    options = parser.parse_args()
    report = Report("chaos", options)
    rounds = list(_rounds(options))
    for database, replicas in dict.fromkeys((found["database"], found["replicas"]) for found in rounds):
        report.row(
            **_line([found for found in rounds if (found["database"], found["replicas"]) == (database, replicas)])
        )
    for (part, point), count in sorted(_killed(rounds).items()):
        report.row(part=part, point=point, kills=count)
    report.note(NOTE)
    if options.real:
        real(report, options)
    report.at_least(
        "kills", options.kills if not options.quick else QUICK, measured=sum(found["kills"] for found in rounds)
    )
    for name, what in PROMISES.items():
        report.at_most(what, 0, measured=sum(found["broken"][name] for found in rounds))
    return report.finish()


def real(report: Report, options: Namespace) -> None:
    """The part in which nothing is replaced."""
    from benchmarks.chaos import embedded

    found = embedded.play(options.real, embedded.STEPS, options.seed)
    for part, kills in sorted(found["killed"].items()):
        report.row(stack="embedded", part=part, kills=kills, jobs=found["jobs"])
    for what, count in found["broken"].items():
        report.at_most(f"embedded stack: {what}", 0, measured=count)


def _rounds(options: Namespace) -> Iterator[dict[str, Any]]:
    """Each configuration in turn, in worlds of at most `ROUND` kills."""
    databases = [options.database] if options.database else ["sqlite"] if options.quick else ["sqlite", "postgres"]
    replicas = [options.replicas] if options.replicas else [1] if options.quick else [1, 2]
    configurations = list(product(databases, replicas))
    each = ceil((QUICK if options.quick else options.kills) / len(configurations))
    count = ceil(each / ROUND)
    file: Path | None = options.rounds
    played = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    known = {_key(found): found for found in played}
    for number in range(count):
        for place, (database, instances) in enumerate(configurations):
            key = (database, instances, 1000 * options.seed + 10 * number + place, ceil(each / count))
            found = known.get(key) or _played(*key)
            if key not in known and file:
                with file.open("a") as opened:
                    opened.write(json.dumps(found) + "\n")
            yield found


def _key(found: dict[str, Any]) -> tuple[Any, ...]:
    return found["database"], found["replicas"], found["seed"], found["asked"]


def _played(database: str, replicas: int, seed: int, kills: int) -> dict[str, Any]:
    """One round, told while it is new."""
    happened, verdict = play(database, replicas, kills, seed)
    print(
        f"{database} × {replicas}, seed {seed}:",
        json.dumps({name: happened[name] for name in (*SUMS, "settled_seconds", "verbs")}),
        flush=True,
    )
    for name, cases in verdict.cases.items():
        for case in cases:
            print(f"  BROKEN, {PROMISES[name]}: {case} ({happened['world']})", flush=True)
    return happened | {"asked": kills, "broken": verdict.counts}


def _line(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of the table."""
    sums = {name: sum(found[name] for found in rounds) for name in SUMS}
    broken = {name: sum(found["broken"][name] for found in rounds) for name in PROMISES}
    settled = max(found["settled_seconds"] for found in rounds)
    return {
        "database": rounds[0]["database"],
        "replicas": rounds[0]["replicas"],
        **sums,
        "settled_s": round(settled, 1),
        **broken,
    }


def _killed(rounds: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for one in rounds:
        for part, point, count in one["killed"]:
            found[part, point] += count
    return found


if __name__ == "__main__":
    raise SystemExit(main())
