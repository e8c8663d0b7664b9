"""Jobs as a team submits them, drawn: who, when, how large, how long, how urgent."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from service.runs.room import Need

HOUR = 3600.0
DAY = 24 * HOUR
WORKERS = ((1, 50), (2, 20), (4, 15), (8, 12), (16, 3))
"""How many workers of one GPU, and how often out of a hundred: most jobs of shared clusters are small."""
PRIORITIES = ((50, 70), (20, 15), (80, 15))
OWNERS, PROJECTS = 8, 4
"""People, and of each so many kinds of jobs that they submit again and again."""
CPUS_EACH = 4.0
SPREAD, WITHIN = 1.2, 0.15
"""Standard deviations of the logarithm of how long jobs take: between projects, and among those of one."""
BUSY = 1.6
"""By day so many times the mean rate; by night so much less that the mean holds."""


class Drawn(NamedTuple):
    """A job of a trace."""

    arrives: float
    """Seconds from the beginning."""
    owner: str
    name: str
    family: str
    priority: int
    preemptible: bool
    need: Need
    images: float
    seconds: float
    """That it trains, if nobody pauses it."""


def draw(seed: int, days: float, gpus: int, load: float) -> list[Drawn]:
    """A trace that would keep that share of so many GPUs busy, in order of arrival."""
    chance = random.Random(seed)
    projects = [
        (f"p{index}-{kind}", f"owner-{index}", f"family-{kind}", HOUR * math.exp(chance.gauss(0, SPREAD)))
        for index in range(OWNERS)
        for kind in range(PROJECTS)
    ]
    each = sum(seconds for *_, seconds in projects) / len(projects) * math.exp(WITHIN**2 / 2)
    workers = sum(count * share for count, share in WORKERS) / 100
    rate = load * gpus / (each * workers)
    found, now = list[Drawn](), 0.0
    while True:
        now += chance.expovariate(rate * BUSY)
        if now >= days * DAY:
            return found
        if (now % DAY) >= DAY / 2 and chance.random() > (2 - BUSY) / BUSY:
            continue  # by night
        name, owner, family, mean = chance.choice(projects)
        priority = _one_of(chance, PRIORITIES)
        seconds = mean * math.exp(chance.gauss(0, WITHIN))
        preemptible = priority == 20 or chance.random() < 0.1
        need = Need(_one_of(chance, WORKERS), CPUS_EACH, 1.0)
        found.append(Drawn(now, owner, name, family, priority, preemptible, need, 1000.0 * mean / HOUR, seconds))


def _one_of(chance: random.Random, choices: tuple[tuple[int, int], ...]) -> int:
    return chance.choices([value for value, _ in choices], [share for _, share in choices])[0]
