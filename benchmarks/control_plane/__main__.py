"""`python -m benchmarks.control_plane`: how many requests the control plane takes, how late its answers are, and what limits it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.common import Report, arguments
from benchmarks.control_plane import followers, lists, restart, rounds, submissions, taken
from benchmarks.control_plane.scale import QUICK, Scale
from benchmarks.control_plane.told import Book
from benchmarks.control_plane.world import World

DATABASES = ("sqlite", "postgres")


def many(book: Book, world: World, scale: Scale) -> None:
    """What goes with very many jobs that have ended: rounds, then lists."""
    with world.fresh() as db:
        at_work = rounds.some_at_work(db, scale)
        rounds.measure(book, world, db, scale, at_work)
        rounds.idle(book, world, scale, at_work)
        world.stop()
        lists.measure(book, world, db, scale)


SCENARIOS: dict[str, Callable[[Book, World, Scale], None]] = {
    "submissions": submissions.measure,
    "events": taken.measure,
    "followers": followers.measure,
    "restart": restart.measure,
    "many": many,
}


def main() -> int:
    """0 if all targets hold."""
    parser = arguments("control_plane", __doc__ or "")
    parser.add_argument(
        "--database", choices=DATABASES, action="append", help="this one only (default: both; sqlite with --quick)"
    )
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="this one only (default: all)")
    parser.add_argument("--seconds", type=float, help="length of each load (default: 8; 1 with --quick)")
    parser.add_argument(
        "--before",
        type=Path,
        action="append",
        default=[],
        help="report of another commit, whose figures stand beside these",
    )
    options = parser.parse_args()
    report = Report("control_plane", options)
    scale = replace(QUICK if options.quick else Scale(), seed=options.seed)
    if options.seconds:
        scale = replace(scale, seconds=options.seconds)
    for database in options.database or (DATABASES[:1] if options.quick else DATABASES):
        with World(database) as world:
            for name in options.scenario or SCENARIOS:
                SCENARIOS[name](Book(report, database), world, scale)
    for path in options.before:
        known = json.loads(path.read_text())
        found = {target["name"]: target["measured"] for target in known["targets"]}
        before = report.more.setdefault("before", {"commit": known["commit"], "targets": {}})
        before["targets"].update(found)
    report.note(
        "Ray is replaced by a fake at its seam, in the server's process: what Ray's own API costs is not in these figures"
    )
    report.note(
        "generator, server and database share the machine's cores; load_1min tells what else ran when it was written"
    )
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
