"""What is known of each job from outside: what people asked for and what the world did; and what must hold of its row then.

A model of its own: it knows the documents, not the code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from drivers import Cluster

ON_RAY = ("starting", "running", "stopping")
ENDED = ("succeeded", "failed", "cancelled")
WAITS = ("submitted", "queued")
DOCUMENT = Path(__file__).parents[3] / "docs" / "lifecycle.md"
PATHS = {
    *re.findall(r"^ +(\S+) --> (\w+)", DOCUMENT.read_text(), re.M),
    # "A job can also be cancelled straight from `starting` or `running`, …; and be paused, …"
    *((state, end) for state in ("starting", "running") for end in ("cancelled", "paused")),
}
SEARCHES = {*PATHS, ("succeeded", "queued")}
"""One that has ended can be extended."""
A_LITTLE = 1e-3


@dataclass
class Life:
    """A job."""

    id: str
    owner: str
    created: datetime
    limits: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    """That its spec allows."""
    allowed: int = 1
    """The fewest that it has allowed since someone put it into the queue."""
    cpus: float = 0.0
    """The most that it ever took."""
    fork: int | None = None
    """The step of the checkpoint that it began with."""
    wanted: str = "run"
    """As people were told: run, pause or stop."""
    returns: int = 0
    """How often someone has put it back into the queue, of which nothing was seen yet."""
    again: bool = False
    """Whether it was ever tried again."""
    completed: bool = False
    fatal: bool = False
    pins: set[int] = field(default_factory=set)
    deleted: bool = False

    seen: int = 0
    """The newest change that was looked at."""
    state: str = ""
    attempt: int = 0
    before: int = 0
    """Attempts made before someone put it into the queue."""
    yielded: set[int] = field(default_factory=set)
    """Attempts that made room."""
    waits_since: datetime | None = None
    begun: datetime | None = None
    """Since when its attempt is known to be on the cluster."""
    least: float = 0.0
    """Seconds on the cluster, as the driver's own word may have it."""
    most: float = 0.0
    """The same, from when Ray surely had it until the row left."""
    waited: bool = False
    """Whether its attempt waited for resources."""
    spent: bool = False
    """Whether one of its limits ends it, or was to before it ended otherwise."""

    @property
    def is_search(self) -> bool:
        """Or a job."""
        return self.id.startswith("s-")

    @property
    def url(self) -> str:
        """Its path in the API."""
        return f"/v1/{'searches' if self.is_search else 'jobs'}/{self.id}"

    def knows(self, verb: str) -> bool:
        """Whether one of its kind can be asked that."""
        return verb != ("retry" if self.is_search else "extend")

    def read(self, spec: dict[str, Any]) -> None:
        """Its spec as it is now."""
        base = spec.get("base", spec)
        self.limits = {name: value for name, value in spec["limits"].items() if value}
        self.attempts = max(base["retry"]["attempts"], 3 if self.is_search else 1)
        self.cpus = max(self.cpus, base["resources"]["workers"] * base["resources"]["cpus_per_worker"])

    def put_back(self) -> None:
        """Someone has it go on."""
        self.returns, self.wanted, self.before, self.allowed = self.returns + 1, "run", self.attempt, self.attempts
        self.completed = self.fatal = self.spent = False


def moved(life: Life, change: Any, ray: Cluster, row: Any, now: datetime) -> None:
    """A change of the job's state that was written down."""
    before, after, life.seen = life.state or "[*]", change.state, change.id
    if before == after:  # a note
        assert change.attempt == life.attempt
        return
    assert (before, after) in (SEARCHES if life.is_search else PATHS), f"{before} -> {after}"
    if after == "starting":
        assert change.attempt == life.attempt + 1, "an attempt is made once"
        life.begun = None
        life.waited = False
    else:
        assert change.attempt == life.attempt, f"{before} -> {after}"
    if before in ENDED or before == "paused":
        assert after == "cancelled" or life.returns, f"nobody asked for {before} -> {after}"
        life.returns = 0
    if before in ON_RAY and after not in ON_RAY:
        _left(life, ray.silent.get((life.id, life.attempt), now), now)
    if before in ON_RAY and after == "queued" and change.reason.startswith("paused for "):
        life.yielded.add(life.attempt)
    elif before in ON_RAY and after == "queued":
        assert (life.id, life.attempt) in ray.lost, "an attempt was lost, says the row"
        assert life.wanted == "run"
    life.state, life.attempt = after, change.attempt
    waits = after in WAITS
    life.waits_since = None if not waits else life.waits_since if before in WAITS else now
    if after in ENDED or after == "paused":
        _verdict(life, row if row.state == after else None, ray, now)


def _left(life: Life, end: datetime, now: datetime) -> None:
    """end: when the attempt said its last word."""
    if life.begun is not None:
        life.most += (now - life.begun).total_seconds()
        life.least += 0.0 if life.waited else max(0.0, (end - life.begun).total_seconds())


def _verdict(life: Life, row: Any, ray: Cluster, now: datetime) -> None:
    """Whether it ended as it may have."""
    match life.state:
        case "paused":
            assert life.wanted == "pause"
        case "succeeded":
            assert life.completed, "nobody said so"
        case "failed":
            attempts = set(range(life.before + 1, life.attempt + 1)) - life.yielded
            lost = {attempt for attempt in attempts if (life.id, attempt) in ray.lost}
            assert life.fatal or (lost == attempts and len(lost) >= life.allowed), (attempts, lost, life.allowed)
        case "cancelled":
            spent = row.spent if row is not None else None
            assert life.wanted == "stop" or life.spent or spent is not None


def _check_limit(life: Life, row: Any, now: datetime) -> None:
    """Whether it is used up."""
    name = row.spent["limit"]
    assert name in life.limits, "it has no such limit"
    if name == "wall":
        assert (now - life.created).total_seconds() >= life.limits[name] - A_LITTLE
    if name == "run":
        counted = (now - life.begun).total_seconds() if life.begun and life.state in ON_RAY else 0.0
        assert life.most + counted >= life.limits[name] - A_LITTLE


def compare(life: Life, row: Any, now: datetime) -> None:
    """What must hold of a row, whatever happens."""
    assert (row.state, row.attempt) == (life.state, life.attempt), "the newest change tells the state"
    if row.spent is not None and not life.spent:
        _check_limit(life, row, now)
    life.spent = life.spent or row.spent is not None
    assert row.desired == ("stop" if life.spent else life.wanted), "what was acknowledged is lost"
    if row.state in ON_RAY and row.submitted_at is not None and life.begun is None:
        life.begun = now
    assert row.run_seconds >= 0
    assert row.accelerator_seconds == 0
    assert -A_LITTLE <= row.cpu_seconds <= row.run_seconds * life.cpus + A_LITTLE
    if row.state not in ON_RAY:
        assert life.least - A_LITTLE <= row.run_seconds <= life.most + A_LITTLE, (
            life.least,
            row.run_seconds,
            life.most,
        )
        assert row.counted_at is None
    assert (row.finished_at is not None) == (row.state in ENDED)
    assert (row.queued_at is not None) == (row.state in WAITS)


def overdue(life: Life, now: datetime) -> bool:
    """Whether a limit of one that isn't on the cluster is used up."""
    if life.state in ON_RAY or life.state in ENDED:
        return False
    used = [(life.limits.get("wall"), life.created), (life.limits.get("wait"), life.waits_since)]
    return any(since is not None and limit and now - since > timedelta(seconds=limit) for limit, since in used)


def allowed(verb: str, life: Life, row: Any) -> Sequence[int]:
    """What may be answered to it."""
    wanted = "stop" if row.spent is not None and row.state not in ENDED else life.wanted
    state, spent = life.state, ([409] if life.limits else [])
    match verb:
        case "cancel":
            return [409 if state in ENDED else 202]
        case "pause":
            return [409 if state in ENDED or wanted == "stop" else 202]
        case "resume" if state == "paused" or (state == "failed" and life.is_search):
            return [202, *spent]
        case "extend":
            return [202, *spent] if state == "paused" or state in ENDED else [409]
        case "resume":
            saves = wanted == "pause" and state in ON_RAY and row.yields_to is None
            return [409 if state in ENDED or wanted == "stop" or saves else 202]
        case "retry" if state in ("failed", "cancelled"):
            return [202, *spent]
        case "retry":
            early = life.again and wanted == "run" and state in (*WAITS, "starting")
            return [202, 409] if early else [409]
    raise AssertionError(verb)
