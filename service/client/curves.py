"""Calls about what was measured over a training."""

from __future__ import annotations

from collections.abc import Sequence

from service.bodies.curves import Curves
from service.client.base import Calls, part


class CurveCalls(Calls):
    """Part of `Client`."""

    def curves(
        self, job: str, *, metrics: Sequence[str] = (), buckets: int | None = None, lineage: bool = False
    ) -> Curves:
        """A job's curves over the images shown, in at most 200 (or `buckets`) points each. metrics: names; none: all.

        lineage: those of the jobs that it goes back to, up to each fork, stand before its own, and images are counted from the
        first that the nets were shown; else `offset` is what to add.
        """
        params = {"metric": list(metrics) or None, "buckets": buckets, "lineage": lineage or None}
        return self._read(Curves, "GET", f"/v1/jobs/{part(job)}/curves", params=params)
