"""Calls about the sample grids of jobs and trials."""

from __future__ import annotations

from collections.abc import Iterator

from service.bodies.base import Page
from service.bodies.samples import SampleGrid
from service.client.base import Calls, part


class SampleCalls(Calls):
    """Part of `Client`. A `trial` is named with its search, as `SEARCH/TRIAL`."""

    def sample_grids(self, job: str, *, limit: int | None = None, cursor: str | None = None) -> Page[SampleGrid]:
        """One page of the sample grids that are kept of a job, newest step first."""
        return self._grids(_job(job), limit, cursor)

    def trial_sample_grids(
        self, trial: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[SampleGrid]:
        """One page of the sample grids that are kept of a trial, newest step first."""
        return self._grids(_trial(trial), limit, cursor)

    def every_sample_grid(self, of: str) -> Iterator[SampleGrid]:
        """All sample grids that are kept of a job or a trial, page by page."""
        cursor, path = None, _trial(of) if "/" in of else _job(of)
        while True:
            page = self._grids(path, 200, cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def samples(self, job: str, step: int | None = None, tile: int | None = None) -> bytes:
        """The sample grid of a step, the newest by default, or one image of it (counted from 0, row by row): a PNG.

        Raises NotFound before the first, for a step of which none is kept, and for an image that the grid doesn't have.
        """
        return self._picture(_job(job), step, tile)

    def trial_samples(self, trial: str, step: int | None = None, tile: int | None = None) -> bytes:
        """As `samples`, of a trial."""
        return self._picture(_trial(trial), step, tile)

    def _grids(self, path: str, limit: int | None, cursor: str | None) -> Page[SampleGrid]:
        return self._read(Page[SampleGrid], "GET", f"{path}/steps", params={"limit": limit, "cursor": cursor})

    def _picture(self, path: str, step: int | None, tile: int | None) -> bytes:
        if step is None and tile is not None:
            step = int(self._connection.call("GET", path).headers["x-sample-step"])
        below = "" if step is None else f"/{step}" if tile is None else f"/{step}/tiles/{tile}"
        return self._connection.call("GET", path + below).content


def _job(job: str) -> str:
    return f"/v1/jobs/{part(job)}/samples"


def _trial(trial: str) -> str:
    search, _, name = trial.partition("/")
    return f"/v1/searches/{part(search)}/trials/{part(name)}/samples"
