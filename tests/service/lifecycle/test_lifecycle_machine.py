"""Every trigger in every state, with crashes between any two writes: the whole control plane against a model of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from drivers import Cluster
from fastapi.testclient import TestClient
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test
from lives import WAITS, Life
from people import People
from processes import Points, Watched
from properties import examples
from sqlalchemy import select
from staged import CPUS, OWNERS, Stage
from surroundings import Surroundings
from virtual import VirtualTime

from service.app import create_app
from service.db.session import Database
from service.db.tables import JobEvent
from service.gateway.fake_registry import FakeRegistry
from service.settings import Settings

CALM_ROUNDS = 150
"""In so many all come to their ends once nothing goes wrong any more."""


class Lifecycle(People, Surroundings):
    """Whatever people, the cluster and crashes do."""

    @initialize(workers=st.lists(st.sampled_from([1, 2, 4]), max_size=3), rounds=st.integers(0, 5))
    def begin(self, workers: list[int], rounds: int) -> None:
        """Some run already, or wait."""
        for count in workers:
            self.submit("ada", count, 20, True, 2, {}, None)
        for number in range(rounds):
            self.goes_well(number % 2, 5)

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self.calm_down()
        for process in self.reconcilers:
            if process.held_since is not None:
                process.points.disarm()
                process.go_on()

    def calm_down(self) -> None:
        """Nothing goes wrong any more: all come to their ends."""
        self.ray.unreachable, self.ray.refuse, self.ray.fail = False, "", ""
        for owner in OWNERS:
            self.cap(owner, None)
        for index in range(2):
            self.go_on(index)
        for count in range(CALM_ROUNDS):
            for driver in self.ray.alive:
                self.act(driver, "completed")
                if driver.alive:
                    self.post(driver)
            self.round(count % 2, 5)
            rows = [self.row(life.id) for life in self.living]
            left = [row for row in rows if row.watched or row.state in WAITS]
            if not self.ray.alive and all(row.workers > CPUS for row in left):
                break
        else:
            told = [(row.id, row.state, row.desired, row.reason, row.due_at, row.lease_until) for row in left]
            raise AssertionError(f"stuck: {told}; drivers: {self.ray.alive}")
        for life in self.living:
            self.look_back(life)

    def look_back(self, life: Life) -> None:
        """All that it has told is there, and what it began with."""
        row, spool = self.row(life.id), self.ray.spools.get(life.id)
        with self.stage.db.read() as session:
            events = select(JobEvent).where(JobEvent.job_number == row.number).order_by(JobEvent.seq)
            told = [(item.seq, item.attempt, item.kind) for item in session.scalars(events)]
        if spool is not None:
            written = [(item["seq"], item["attempt"], item["kind"]) for item in spool.events]
            assert told[: row.acked] == written[: row.acked]
            assert row.acked >= spool.acked


@pytest.fixture
def stage(settings: Settings, db: Database) -> Iterator[Stage]:
    """On each database."""
    points, clock = Points(), VirtualTime()
    with TestClient(create_app(settings, Cluster(CPUS, clock), FakeRegistry())) as client:
        client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        tokens = {"root": settings.token_file.read_text().strip()}
        for owner in OWNERS:
            tokens[owner] = client.post("/v1/tokens", json={"name": owner, "scope": "user"}).json()["token"]
        context = client.app.state.context  # type: ignore[attr-defined]
        context.db = Watched(context.db, points)
        del client.headers["Authorization"]
        with clock.ruling():
            yield Stage(client, settings, db, clock, tokens, points)


@pytest.mark.timeout(1800)
def test_whatever_happens_no_run_is_lost_stuck_or_started_twice(stage: Stage) -> None:
    run_state_machine_as_test(
        lambda: Lifecycle(stage),
        settings=examples(8, stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )
