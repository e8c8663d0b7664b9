"""Calls about the disk that runs lie on."""

from __future__ import annotations

from service.bodies.disk import Collected, Disk
from service.client.base import Calls

GC_SECONDS = 60.0
"""For the answer: the API removes files before it."""


class DiskCalls(Calls):
    """Part of `Client`."""

    def disk(self, *, sizes: bool = True, timeout: float | None = None) -> Disk:
        """How full the disk is that the folders of runs lie on; `sizes`: and what takes how much of it. timeout: then it is given up."""
        params, patience = {} if sizes else {"sizes": "false"}, None if timeout is None else 0.0
        return self._read(Disk, "GET", "/v1/disk", params=params, timeout=timeout, patience=patience)

    def collect(self, *, dry_run: bool = True, samples_days: float | None = None, cursor: int = 0) -> Collected:
        """For administrators: remove what nobody needs of the next runs, or only say what that is.

        `samples_days`: also old sample grids of runs that ended longer ago. `cursor`: `next_cursor` of the call before.
        """
        body = {"dry_run": dry_run, "samples_days": samples_days, "cursor": cursor}
        return self._read(Collected, "POST", "/v1/gc", body=body, timeout=GC_SECONDS)
