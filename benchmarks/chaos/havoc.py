"""Who dies next: by chance, seeded, until so many have been killed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from benchmarks.chaos.death import KILLS, STARTS, lines
from benchmarks.chaos.head import NODES
from benchmarks.chaos.stage import Stage

PAUSE_SECONDS = (0.2, 2.5)
LOOKS = 0.98
"""How surely it looks again, where nothing is worth killing."""
KILLS_PER_START, FIRST = 1.0, 3
EARLY = 0.1
"""Share of the kills of the control plane that may meet a process while it starts."""
STEPS = (0.0, -40.0, 40.0, -7200.0, 7200.0, 600.0, -600.0)
"""Seconds by which a machine's clock may be ahead."""
ROUGH = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Shares of the pieces of requests and answers that come to harm, for a while each."""


class Havoc:
    """Breaks a stage."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.random = stage, random.Random(f"havoc {seed}")
        self.other: Counter[str] = Counter()
        """What is no kill: steps of clocks."""
        self._weather()
        self.moves: dict[Callable[[], None], int] = {
            self._control: 3, self._driver: 4, self._worker: 4, self._head: 2, self._forgetful: 1,
            self._node: 1, self._database: 2, self._clock: 4, self._weather: 4,
        }  # fmt: skip

    def until(self, kills: int, seconds: float) -> None:
        """Until that many died, by their own points too; for so long at most."""
        end = time.monotonic() + seconds
        while len(lines(self.stage.world / KILLS)) < kills and time.monotonic() < end:
            while self.random.random() < LOOKS and not self._worthwhile():
                time.sleep(PAUSE_SECONDS[0])
            time.sleep(self.random.uniform(*PAUSE_SECONDS))
            self.random.choices(list(self.moves), list(self.moves.values()))[0]()

    def _worthwhile(self) -> bool:
        """Whether an API answers, and jobs have started since: on a slow machine all would be dead before anything was done."""
        killed, started = (len(lines(self.stage.world / name)) for name in (KILLS, STARTS))
        return killed <= KILLS_PER_START * started + FIRST and any(self.stage.ready(name) for name in self.stage.ports)

    def _control(self) -> None:
        """Those at work first: a machine that others use, too, would never see one that is."""
        ready = [name for name in self.stage.machines if self.stage.ready(name)]
        early = self.random.random() < EARLY
        if chosen := ready or (list(self.stage.machines) if early else []):
            self.stage.kill_control(self.random.choice(chosen))

    def _driver(self) -> None:
        self.stage.kill_training("driver")

    def _worker(self) -> None:
        self.stage.kill_training("worker")

    def _head(self) -> None:
        self.stage.kill_head(forgets=False)

    def _forgetful(self) -> None:
        self.stage.kill_head(forgets=True)

    def _node(self) -> None:
        self.stage.kill_node(self.random.choice(NODES))

    def _database(self) -> None:
        self.stage.kill_database()

    def _clock(self) -> None:
        self.stage.clocks[self.random.choice(list(self.stage.clocks))].set(self.random.choice(STEPS))
        self.other["clock steps"] += 1

    def _weather(self) -> None:
        self.stage.to_api.rough, self.stage.to_ray.rough = self.random.choice(ROUGH), self.random.choice(ROUGH)
