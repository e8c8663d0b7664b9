"""Whose logs are asked for, and which of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Query

from service.context import Context
from service.db.tables import Job
from service.errors import NotFound
from service.runs import logs
from service.runs.kinds import kind_of
from service.runs.logarchive import name_of
from service.runs.logs import Log

Tail = Annotated[int | None, Query(ge=1, le=100_000, description="Only that many last lines.")]
Offset = Annotated[
    int | None,
    Query(
        ge=0,
        lt=2**63,
        description="Leave out what lies before that place, and give at most a million bytes; the header `X-Log-Offset` says"
        " where to go on. Bytes from the beginning, until the log has grown so long that it is kept in parts.",
    ),
]
Attempt = Annotated[int | None, Query(ge=1, lt=2**31, description="Of that attempt; default: the newest.")]
RANK = r"^(driver|[0-9]{1,5})$"
Rank = Annotated[
    str | None,
    Query(
        pattern=r"^(driver|\d{1,5})$",
        description="Of that worker, or of the `driver`; default: the driver, of a trial 0.",
    ),
]
DRIVER = "driver"


@dataclass(frozen=True)
class Owner:
    """Whose logs."""

    job: Job
    """The run; of a trial, its search."""
    folder: Path
    name: str
    """For a person."""
    url: str
    """Path below which they are asked for."""
    trial: str | None = None
    """Id of the trial, whose search `job` is: it has no driver, its search has."""

    def attempt(self, asked: int | None) -> int:
        """The one asked for, or the newest. Raises NotFound."""
        if asked is not None and asked > self.job.attempt:
            had = f"{self.job.attempt} attempt{'s' if self.job.attempt != 1 else ''}"
            raise NotFound(f"{self.name} has had {had} so far")
        return self.job.attempt if asked is None else asked

    def rank(self, asked: str | None) -> int | None:
        """The one asked for, or whose log is the first to look at; None: the driver. Raises NotFound."""
        if asked in (None, DRIVER):
            if asked is not None and self.trial is not None:
                raise NotFound(
                    f"{self.name} has no driver: its search has, GET {self.url.partition('/trials/')[0]}/logs"
                )
            return None if self.trial is None else 0
        if self.has_trials:
            raise NotFound(f"{self.name} has no workers: its trials have, GET {self.url[:-5]}/trials/{{trial}}/logs")
        workers = int(self.job.spec.get("base", self.job.spec)["resources"]["workers"])
        if int(asked) >= workers:
            ranks = "rank 0 alone" if workers == 1 else f"ranks 0 to {workers - 1}"
            raise NotFound(f"{self.name} has {ranks}")
        return int(asked)

    def log(self, ctx: Context, attempt: int, rank: int | None) -> Log:
        """Where it lies."""
        return Log(ctx.settings.jobs_root, self.folder, attempt, rank)

    @property
    def has_trials(self) -> bool:
        """Whether it is a search."""
        return kind_of(self.job).has_trials and self.trial is None

    def of_attempt(self, ctx: Context, attempt: int) -> list[Log]:
        """All that are kept of one attempt: the driver's, then its workers'."""
        return [log for log in logs.logs(ctx.settings.jobs_root, self.folder) if log.attempt == attempt]

    def everything(self, ctx: Context, attempt: int | None) -> list[tuple[str, Log]]:
        """All that are kept, or all of one attempt, each with a name; of a search its trials' too."""
        root = ctx.settings.jobs_root
        found = [(name_of(log), log) for log in logs.logs(root, self.folder)]
        if self.has_trials:
            for name, folder in logs.trials(root, self.folder):
                found += [(f"trials/{name}/{name_of(log)}", log) for log in logs.logs(root, folder)]
        return [(name, log) for name, log in found if attempt in (None, log.attempt)]
