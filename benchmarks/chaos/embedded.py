"""The part with nothing replaced: Ray, MLflow and trainings of the embedded stack, killed at random (`--real`).

Each training runs twice, first undisturbed. What is killed comes back as a person brings it back: by `agon up`.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.resume import digest
from service.client import Client, ClientError, Job
from service.local import down, up
from service.stack import record as records
from service.stack.errors import StackError
from service.stack.layout import Layout
from service.stack.parts import WARM_ENV, Config
from service.stack.ports import Ports, free_ports
from service.stack.processes import members
from trainer.families.table import recipes
from trainer.spec import JobSpec, with_overrides

PARTS = ("api", "mlflow", "ray", "driver", "worker", "worker", "driver", "api", "mlflow")
"""Whom the deck has; all of Ray is the dearest."""
TITLES = {"driver": "trainer.launch.driver", "worker": "ray::RayTrainWorker"}
STEPS = 4000
PAUSE_SECONDS = (1.0, 8.0)
PATIENCE_SECONDS = 900.0


def small(seed: int, steps: int) -> JobSpec:
    """A GAN on digits with one worker."""
    return with_overrides(
        recipes()["gan-digits"](),
        [
            "arch.g_hidden=32", "arch.d_hidden=32", "train.batch=16", f"train.images={16 * steps}", "train.log_steps=20",
            "checkpoint.every_steps=100", "samples.every_steps=100000", "samples.count=4", "evaluation.samples=32",
            "resources.workers=1", f"train.seed={seed}", "retry.attempts=100",
        ],
    )  # fmt: skip


class Deck:
    """Whom to kill next, by chance; of so many kills as `PARTS` is long each part has its share."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._left: list[str] = []

    def draw(self) -> str:
        """The next part."""
        if not self._left:
            self._left = self._chance.sample(PARTS, len(PARTS))
        return self._left.pop()

    def put_back(self, part: str) -> None:
        """It wasn't there to be killed: its turn comes behind all that are left."""
        self._left.insert(0, part)


class Embedded:
    """A stack of its own."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)
        api, mlflow, dashboard, gcs, serve = free_ports(5)
        self.config = Config(self.layout, Ports(api=api, mlflow=mlflow, dashboard=dashboard, gcs=gcs, serve=serve))
        self.killed: Counter[str] = Counter()
        self.up()

    def up(self) -> None:
        """What is missing; a part that Ray's own haste has ended is tried again."""
        for left in reversed(range(5)):
            try:
                up(self.config)
                return
            except StackError:
                if not left:
                    raise

    def client(self) -> Client:
        """An administrator's."""
        record = records.read(self.layout.record)
        assert record is not None
        return Client(record.api_url, self.layout.token.read_text().strip(), patience=120)

    def kill(self, part: str, chance: random.Random) -> bool:
        """One process, if there is one; of Ray, its head, with which all of it ends."""
        record = records.read(self.layout.record)
        assert record is not None
        found = (
            [psutil.Process(record.parts[part].pid)]
            if part in record.parts
            else self._called(record.stack_id, TITLES[part])
        )
        with suppress(psutil.Error, IndexError):
            chance.choice(found).kill()
            self.killed[part] += 1
            return True
        return False

    def _called(self, stack_id: str, title: str) -> list[psutil.Process]:
        return [process for process in members(stack_id) if title in _title(process)]


def play(kills: int, steps: int, seed: int) -> dict[str, Any]:
    """What was killed, and what came of it."""
    chance, broken, jobs = random.Random(f"embedded {seed}"), Counter[str](), 0
    deck = Deck(chance)
    with _stack() as stack:
        while stack.killed.total() < kills:
            spec, jobs = small(seed + jobs, steps), jobs + 1
            with stack.client() as client:
                alone = client.wait(client.submit(spec).id)
                job = client.submit(spec)
            _torment(stack, job.id, deck, chance, kills)
            with stack.client() as client:
                broken += _judged(stack, client, alone, client.wait(job.id))
        return {"killed": dict(stack.killed), "jobs": jobs, "broken": {name: broken[name] for name in BROKEN}}


BROKEN = (
    "jobs not succeeded",
    "jobs with events lost or twice",
    "jobs whose weights differ",
    "jobs with metrics lost or twice in MLflow",
)


def _torment(stack: Embedded, job: str, deck: Deck, chance: random.Random, kills: int) -> None:
    """Kill and bring back until the job has ended, or so many were killed."""
    until = time.monotonic() + PATIENCE_SECONDS
    while stack.killed.total() < kills and time.monotonic() < until:
        time.sleep(chance.uniform(*PAUSE_SECONDS))
        with suppress(ClientError), stack.client() as client:
            if client.job(job).ended:
                return
        part = deck.draw()
        if not stack.kill(part, chance):
            deck.put_back(part)
        time.sleep(chance.uniform(0, PAUSE_SECONDS[0]))
        stack.up()


def _judged(stack: Embedded, client: Client, alone: Job, job: Job) -> Counter[str]:
    """Counts of what is broken."""
    jobs = stack.layout.home / "jobs"
    events = [event for event in client.events(job.id) if event.kind != "state"]
    numbered = [int(event.id) for event in events] == list(range(1, len(events) + 1))
    logged, due = ([e.step for e in told if e.kind == "progress"] for told in (events, client.events(alone.id)))
    stops = {event.data["resumed_from"] for event in events if event.kind == "started"}
    theirs, ours = _tracked(stack, alone), _tracked(stack, job)
    tracked = theirs.keys() == ours.keys() and all(each_once(ours[name], theirs[name], stops) for name in theirs)
    return Counter(
        {
            BROKEN[0]: int(job.state != "succeeded"),
            BROKEN[1]: int(not numbered or not each_once(logged, due, stops)),
            BROKEN[2]: int(digest(jobs / alone.id) != digest(jobs / job.id)),
            BROKEN[3]: int(not tracked),
        }
    )


def each_once(logged: Sequence[int], due: Iterable[int], stops: Collection[int]) -> bool:
    """Whether each step that is due was logged, in order and once. What is stopped in order also logs the step that it stops at."""
    return list(logged) == sorted(set(logged)) and set(due) <= set(logged) <= {*due, *stops}


def _tracked(stack: Embedded, job: Job) -> dict[str, list[int]]:
    """Steps of each metric of a job in MLflow."""
    from mlflow import MlflowClient

    record = records.read(stack.layout.record)
    assert record is not None
    assert job.mlflow_run_id is not None
    client = MlflowClient(record.parts["mlflow"].url)
    names = client.get_run(job.mlflow_run_id).data.metrics
    return {
        name: [point.step for point in client.get_metric_history(job.mlflow_run_id, name)] for name in sorted(names)
    }


@contextmanager
def _stack() -> Iterator[Embedded]:
    os.environ[WARM_ENV] = "1"
    with tempfile.TemporaryDirectory(prefix="agon-chaos-") as folder:
        try:
            yield Embedded(Path(folder))
        finally:
            down(Layout(Path(folder)))


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
