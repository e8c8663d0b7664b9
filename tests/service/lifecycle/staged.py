"""What the machine stands on: the control plane on a stage, and what must hold of it after each step."""

from __future__ import annotations

import shutil
from typing import Any, NamedTuple

from drivers import Batch, Cluster
from fastapi.testclient import TestClient
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant
from lives import ON_RAY, Life, compare, moved
from processes import Points, Process
from sqlalchemy import delete, select
from virtual import VirtualTime

from service.db.session import Database
from service.db.tables import Base, Job, JobChange, Token
from service.settings import Settings

CPUS = 4
OWNERS = ("ada", "bob")
WHICH = st.integers(0, 7)
CRASH = st.sampled_from([None, None, None, "before", "after"])
"""Whether the API dies before its first commit, or behind it."""


class DiedError(Exception):
    """The API's process died while it answered."""


class Stage(NamedTuple):
    """What all examples share: one API on one database, which each finds empty."""

    client: TestClient
    settings: Settings
    db: Database
    clock: VirtualTime
    tokens: dict[str, str]
    points: Points
    """Of the API."""


class Staged(RuleBasedStateMachine):
    """Without anything that happens."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.clock = stage, stage.clock
        self.ray = Cluster(CPUS, stage.clock)
        self.lives: list[Life] = []
        self.batches: list[Batch] = []
        self.caps: dict[str, int | None] = {}
        self.numbers: dict[int, str] = {}
        self.keys = 0
        with stage.db.begin() as session:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name not in ("locks", "tokens"):
                    session.execute(delete(table))
            session.execute(delete(Token).where(Token.job_id.is_not(None)))
        shutil.rmtree(stage.settings.jobs_root, ignore_errors=True)
        stage.settings.jobs_root.mkdir(parents=True)
        stage.client.app.state.context.ray = self.ray  # type: ignore[attr-defined]
        stage.points.disarm()
        self.names = 0
        self.reconcilers = [self.process(), self.process()]

    def process(self) -> Process:
        self.names += 1
        return Process(self.stage.db, self.ray, self.stage.settings, f"r{self.names}", self.clock)

    def call(self, method: str, path: str, crash: str | None = None, owner: str = "ada", **options: Any) -> Any:
        """The answer; None: there was none, because the API died before its first commit or behind it."""
        headers = {"Authorization": f"Bearer {self.stage.tokens[owner]}", **options.pop("headers", {})}
        died: list[bool] = []

        def die(*_: bool) -> bool:
            died.append(True)
            raise DiedError

        if crash is not None:
            self.stage.points.arm(crash == "after", die)
        try:
            reply = self.stage.client.request(method, path, headers=headers, **options)
        finally:
            self.stage.points.disarm()
        return None if died else reply

    @property
    def living(self) -> list[Life]:
        return [life for life in self.lives if not life.deleted]

    def pick(self, which: int) -> Life:
        return self.living[which % len(self.living)]

    # -- what holds

    def row(self, job: str) -> Job:
        with self.stage.db.read() as session:
            return session.scalars(select(Job).where(Job.id == job)).one()

    @invariant()
    def look(self) -> None:
        """Whatever has happened was allowed."""
        with self.stage.db.read() as session:
            rows = {row.number: row for row in session.scalars(select(Job))}
            seen = {life.id: life.seen for life in self.living}
            every = session.scalars(select(JobChange).order_by(JobChange.id)).all()
            changes = [change for change in every if change.id > seen.get(rows[change.job_number].id, 0)]
        lives, now = {life.id: life for life in self.living}, self.clock()
        assert {row.id for row in rows.values()} == lives.keys(), "each that was acknowledged, and no other"
        for change in changes:
            row = rows[change.job_number]
            moved(lives[row.id], change, self.ray, row, now)
        for row in rows.values():
            assert self.numbers.setdefault(row.number, row.id) == row.id, "a number is given once"
            compare(lives[row.id], row, now)
        self.look_at_the_cluster(list(rows.values()), [change for change in changes if change.state == "starting"])

    def look_at_the_cluster(self, rows: list[Job], admitted: list[JobChange]) -> None:
        drivers = [driver for driver in self.ray.alive if not driver.late]
        assert len({driver.job for driver in drivers}) == len(drivers), "one driver a job"
        names = [name for name in self.ray.starts if name not in self.ray.forgotten]
        names = [name for name in names if not self.ray.drivers[name].late]
        assert len(set(names)) == len(names), "an attempt is started once"
        on_ray = [row for row in rows if row.state in ON_RAY]
        if admitted:
            taken = sum(row.workers * row.worker_cpus for row in on_ray)
            assert taken <= CPUS, "more than there is"
            numbers = {change.job_number for change in admitted}
            for owner in {row.owner for row in on_ray if row.number in numbers}:
                most = self.caps.get(owner)
                assert most is None or sum(row.owner == owner for row in on_ray) <= most, "a cap is kept"
