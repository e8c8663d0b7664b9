"""Calls that change fields of what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.bodies.jobs import Job
from service.bodies.searches import Search
from service.client.base import SUBMIT_SECONDS, Calls, only_if, part


class EditCalls(Calls):
    """Part of `Client`."""

    def edit(self, job: str, set: Mapping[str, Any], *, if_match: str | None = None) -> Job:
        """Change fields of a job by dotted path or nested mapping: `{"labels.team": "vision", "notes": "…"}`; None takes a label out.

        if_match: the job's `etag` as it was seen; Changed is raised if someone has changed it since, and nothing is edited.
        Raises Invalid with every field that is wrong or can't be edited, Conflict where the job's state doesn't allow it now.
        """
        return self._read(Job, "PATCH", f"/v1/jobs/{part(job)}", **_edit(set, if_match))

    def edit_search(self, search: str, set: Mapping[str, Any], *, if_match: str | None = None) -> Search:
        """The same of a search; fields of its base begin with `base.`."""
        return self._read(Search, "PATCH", f"/v1/searches/{part(search)}", **_edit(set, if_match))


def _edit(values: Mapping[str, Any], if_match: str | None) -> dict[str, Any]:
    """Made twice, it changes nothing more, and is not refused."""
    once = {"headers": only_if(if_match), "repeatable": True, "timeout": SUBMIT_SECONDS}
    return {"body": {"set": dict(values)}, **once}
