"""Calls about the checkpoints of jobs and trials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from service.bodies.base import Page
from service.bodies.checkpoints import Checkpoint
from service.client.base import Calls, part
from service.client.download import fetch


class CheckpointCalls(Calls):
    """Part of `Client`. `of` is a job's id, or a trial with its search: `SEARCH/TRIAL`; `step` may be `latest` or `best`."""

    def checkpoints(self, of: str, *, limit: int | None = None, cursor: str | None = None) -> Page[Checkpoint]:
        """One page of the complete checkpoints that are kept, newest step first."""
        return self._read(Page[Checkpoint], "GET", _path(of), params={"limit": limit, "cursor": cursor})

    def every_checkpoint(self, of: str) -> Iterator[Checkpoint]:
        """All of them, page by page."""
        cursor = None
        while True:
            page = self.checkpoints(of, limit=200, cursor=cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def checkpoint(self, of: str, step: int | str = "latest") -> Checkpoint:
        """One of them. Raises NotFound."""
        return self._read(Checkpoint, "GET", _path(of, step))

    def download_checkpoint(self, of: str, step: int | str = "latest", *, to: Path | str) -> Path:
        """Fetch one into the new folder `to`, or as a tar if that ends in `.tar`; returns it. It is proved by its SHA-256 as it comes.

        A download that breaks off goes on by itself, and nothing is there before all is. Raises NotFound, FileExistsError,
        OSError; UnreadableReply if what came isn't what its manifest says.
        """
        if step in ("latest", "best"):  # which one that is may change in between
            step = self.checkpoint(of, step).step
        return fetch(self._connection, f"{_path(of, step)}/archive", Path(to))

    def pin_checkpoint(self, of: str, step: int | str) -> Checkpoint:
        """Keep one until it is unpinned. Raises NotFound."""
        return self._read(Checkpoint, "PUT", f"{_path(of, step)}/pin")

    def unpin_checkpoint(self, of: str, step: int | str) -> None:
        """Keep it no longer than policy says; one that only its pin has kept is gone with it. Raises NotFound."""
        self._connection.call("DELETE", f"{_path(of, step)}/pin")

    def delete_checkpoint(self, of: str, step: int | str) -> None:
        """Delete one. Raises NotFound; Conflict for a pinned one, and for the newest one of what has not ended."""
        self._connection.call("DELETE", _path(of, step))


def _path(of: str, step: int | str | None = None) -> str:
    search, slash, trial = of.partition("/")
    run = f"searches/{part(search)}/trials/{part(trial)}" if slash else f"jobs/{part(of)}"
    return f"/v1/{run}/checkpoints" + ("" if step is None else f"/{part(str(step))}")
