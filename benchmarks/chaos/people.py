"""People: threads that submit, pause, resume, fork, cancel, retry and reprioritise jobs, and write down what they were told."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from service.client import ApiError, Client, ClientError, Conflict, Job, NotFound, Unavailable

BATCH, LOG_STEPS, SAVE_STEPS = 8, 5, 20
LEAST_STEPS, MOST_STEPS = 40, 160
PAUSE_SECONDS = (0.02, 0.3)
PATIENT = 0.3
"""Share of the jobs that are longer, and make room for others."""
ATTEMPTS = 100
"""That a spec may ask for: no job is to fail for having been killed too often."""


@dataclass
class Asked:
    """A submission: one key, however often it was sent."""

    key: str
    seed: int
    steps: int
    send: Callable[[Client], Job]
    id: str | None = None
    """As it was acknowledged."""
    to_end: bool = False
    """Whether somebody has asked for its end, answered or not."""
    fork: bool = False


@dataclass
class Ledger:
    """All that was asked, and what was answered."""

    asked: list[Asked] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    """Acknowledged calls by verb."""
    refused: Counter[str] = field(default_factory=Counter)
    """Calls by verb that their job's state didn't allow then."""
    unanswered: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """Answers that nobody promises: 500, a wrong field."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def known(self) -> list[Asked]:
        """Those acknowledged."""
        with self.lock:
            return [asked for asked in self.asked if asked.id is not None]


class Person(threading.Thread):
    """Acts by chance until told to stop."""

    def __init__(self, name: str, client: Client, ledger: Ledger, seed: str, most: int) -> None:
        super().__init__(name=name, daemon=True)
        self.client, self.ledger, self.most = client, ledger, most
        self.random = random.Random(f"{seed} {name}")
        self.stopping = threading.Event()
        self._count = 0

    def run(self) -> None:
        """See the class."""
        verbs = {
            self.submit: 8,
            self.fork: 4,
            self.pause: 3,
            self.resume: 4,
            self.cancel: 1,
            self.retry: 1,
            self.prefer: 2,
        }
        while not self.stopping.wait(self.random.uniform(*PAUSE_SECONDS)):
            verb = self.random.choices(list(verbs), list(verbs.values()))[0]
            with suppress(LookupError):
                verb()

    # -- what they ask for

    def submit(self) -> None:
        """A new job, unless enough are there."""
        self._crowded()
        key, seed, patient = self._key(), self.random.randrange(10**6), self.random.random() < PATIENT
        steps = self.random.randint(LEAST_STEPS, MOST_STEPS) * (4 if patient else 1)
        spec = self._spec(key, seed, steps, patient=patient)
        self._send(Asked(key, seed, steps, lambda client: client.submit(spec, idempotency_key=key)))

    def fork(self) -> None:
        """A job that goes on with another's newest checkpoint."""
        self._crowded()
        parent, key = self.random.choice(self.ledger.known()), self._key()
        steps = parent.steps + self.random.randint(20, 60)
        changes = {"name": key, "train.images": steps * BATCH, "queue.priority": self._priority()}

        def send(client: Client) -> Job:
            return client.fork(parent.id, mode="state", set=changes, idempotency_key=key)

        self._send(Asked(key, parent.seed, steps, send, fork=True))

    def _send(self, asked: Asked) -> None:
        """Until it is answered, with the same key; now and then it is given up, and nobody knows then."""
        with self.ledger.lock:
            self.ledger.asked.append(asked)
        verb, patience = "fork" if asked.fork else "submit", self.random.choice((1, 5, 5, 5))
        for _ in range(patience):
            found = self._call(verb, asked.send)
            if isinstance(found, Job):
                with self.ledger.lock:
                    asked.id = found.id
            if found is not None:
                return

    def pause(self) -> None:
        """Any job."""
        self._wish("pause", self.client.pause)

    def resume(self) -> None:
        """Any job."""
        self._wish("resume", self.client.resume)

    def cancel(self) -> None:
        """Any job."""
        asked = self._anyone()
        asked.to_end = True
        self._call("cancel", lambda client: client.cancel(str(asked.id)))

    def retry(self) -> None:
        """One whose end was asked for."""
        asked = self._anyone(lambda asked: asked.to_end)
        self._call("retry", lambda client: client.retry(str(asked.id)))

    def prefer(self) -> None:
        """Give any job another priority."""
        asked, priority = self._anyone(), self._priority()
        self._call("edit", lambda client: client.edit(str(asked.id), {"queue.priority": priority}))

    def _wish(self, verb: str, call: Callable[[str], Job]) -> None:
        asked = self._anyone()
        self._call(verb, lambda _: call(str(asked.id)))

    # -- how

    def _call(self, verb: str, call: Callable[[Client], Any]) -> Any:
        """The answer; False if it was refused; None if there was none."""
        ledger = self.ledger
        try:
            answer = call(self.client)
        except (Conflict, NotFound):
            ledger.refused[verb] += 1
            return False
        except (ApiError, ClientError) as error:
            if isinstance(error, ApiError) and not isinstance(error, Unavailable):
                ledger.broken.append(f"{verb}: {error.status} {error}")
                return False
            ledger.unanswered[verb] += 1
            return None
        ledger.done[verb] += 1
        return answer

    def _crowded(self) -> None:
        """Raises LookupError if enough jobs wait."""
        page = self._call("list", lambda client: client.jobs(state="queued", limit=100))
        if not page or len(page.items) >= self.most:
            raise LookupError

    def _anyone(self, which: Callable[[Asked], bool] = lambda asked: True) -> Asked:
        """One of those submitted lately. Raises LookupError."""
        found = [asked for asked in self.ledger.known()[-20:] if which(asked)]
        return self.random.choice(found)

    def _key(self) -> str:
        self._count += 1
        return f"{self.name}-{self._count}"

    def _priority(self) -> int:
        return self.random.choice((20, 50, 80))

    def _spec(self, name: str, seed: int, steps: int, *, patient: bool) -> dict[str, Any]:
        queue = {"priority": 20, "preemptible": True} if patient else {"priority": self._priority()}
        return {
            "name": name,
            "arch": {"family": "dcgan", "resolution": 16, "channels": 1},
            "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}},
            "train": {"images": steps * BATCH, "batch": BATCH, "log_steps": LOG_STEPS, "seed": seed},
            "checkpoint": {"every_steps": SAVE_STEPS},
            "resources": {"workers": self.random.randint(1, 2)},
            "queue": queue,
            "retry": {"attempts": ATTEMPTS},
        }


def finish(ledger: Ledger, client: Client, seconds: float) -> list[Job]:
    """Once all is calm: send again what nobody answered, let go on what is paused, and wait. Those that haven't ended by then."""
    until, open_jobs = time.monotonic() + seconds, list[Job]()
    while True:
        try:
            for asked in ledger.asked:
                if (
                    asked.id is None and not asked.fork
                ):  # a fork's parent may have no checkpoint any more, or another one
                    asked.id = asked.send(client).id
            open_jobs = [job for job in client.every_job(limit=200) if not job.ended]
            for job in open_jobs:
                if job.state == "paused":
                    with suppress(Conflict):
                        client.resume(job.id)
            if not open_jobs:
                return []
        except ClientError as error:
            ledger.broken.append(f"while all is calm: {error}")
        if time.monotonic() > until:
            return open_jobs
        time.sleep(0.5)
