"""Whether what waiting jobs are told of their start comes true, over drawn traces of a busy cluster."""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Sequence

from benchmarks.common import Report
from benchmarks.queue.simulated import Forecast, World
from benchmarks.queue.trace import HOUR, PRIORITIES, draw

NODES, CPUS, GPUS = 8, 64.0, 8.0
LOAD = 0.85
"""Of all GPUs over the whole time; by day it is more than there are."""
ASKED_EVERY = 4 * HOUR
"""A job is asked when it comes, and so much later again and again."""
KEPT = 0.8


def measure(report: Report, options: argparse.Namespace) -> None:
    """Rows of each trace, and the share of starts that were within what was told when the jobs came."""
    traces, days = (1, min(options.days, 1.0)) if options.quick else (options.traces, options.days)
    kept = list[bool]()
    for number in range(traces):
        seed = options.seed + number
        trace = draw(seed, days, int(NODES * GPUS), LOAD)
        world = World(NODES, CPUS, GPUS, random.Random(seed))
        world.play(trace, ASKED_EVERY)
        kept += _tell(report, world, f"trace {seed}")
    report.note(
        f"forecasts: {traces} drawn traces of {days:g} days on {NODES} nodes of {GPUS:g} GPUs, load {LOAD:g}; priorities 20, 50 and 80, "
        f"those of 20 and a tenth of the others preemptible; jobs say what is left of them within 5 %"
    )
    report.at_least("starts within what was forecast when the jobs came", KEPT, measured=sum(kept) / len(kept))


def _tell(report: Report, world: World, name: str) -> list[bool]:
    """A row for all jobs and for each priority; of each forecast with an end, made when a job came, whether it was kept."""
    found = list[bool]()
    for priority in (None, *(priority for priority, _ in PRIORITIES)):
        lives = [life for life in world.lives if priority in (None, life.priority)]
        numbers = {life.number for life in lives}
        told = [item for item in world.forecasts if item.number in numbers]
        first = [item for item in told if item.asked == world.lives[item.number].drawn.arrives]
        waits = sorted(((life.first_start or 0.0) - life.drawn.arrives) / HOUR for life in lives)
        report.row(
            what=name,
            priority="all" if priority is None else priority,
            jobs=len(lives),
            waited_median_h=statistics.median(waits),
            waited_p95_h=waits[int(0.95 * (len(waits) - 1))],
            waited_most_h=waits[-1],
            forecasts=len(first),
            within=_share(world, first),
            within_later=_share(world, [item for item in told if item not in first]),
            no_end=sum(item.late == math.inf for item in first),
            width_h=statistics.median((item.late - item.early) / HOUR for item in first) if first else None,
        )
        if priority is None:
            found = _kept(world, first)
    return found


def _share(world: World, told: Sequence[Forecast]) -> float | None:
    kept = _kept(world, told)
    return sum(kept) / len(kept) if kept else None


def _kept(world: World, told: Sequence[Forecast]) -> list[bool]:
    """Of each with an end whether the job started within it."""
    with_end = [(item, world.lives[item.number].first_start) for item in told if item.late < math.inf]
    return [item.early <= start <= item.late for item, start in with_end if start is not None]
