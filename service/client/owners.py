"""Calls about people: what they have and may have."""

from __future__ import annotations

from datetime import datetime

from service.bodies.base import Page
from service.bodies.owners import Owner
from service.bodies.usage import Accounts
from service.client.base import Calls, only_if, part


class OwnerCalls(Calls):
    """Part of `Client`. An owner is a person's name; `*` stands for all who have no caps of their own."""

    def owners(self) -> tuple[Owner, ...]:
        """Everyone who has a token, runs, caps or a role, or came through a proxy, by name; for administrators."""
        return self._read(Page[Owner], "GET", "/v1/owners").items

    def owner(self, name: str | None = None) -> Owner:
        """One owner, whoever asks by default. Raises Forbidden for others, unless an administrator asks."""
        return self._read(Owner, "GET", f"/v1/owners/{'me' if name is None else part(name)}")

    def usage(
        self,
        *,
        by: str = "owner",
        owner: str | None = None,
        lineage: str | None = None,
        since: datetime | str | None = None,
        limit: int | None = None,
    ) -> Accounts:
        """CPU- and GPU-hours of runs, added up by owner, name, family, kind or run, the largest first.

        lineage: only the run of that id, all that it goes back to and all that goes back to it. since: only runs that were submitted
        from then on. Raises Forbidden for others' usage, unless an administrator asks.
        """
        when = since.isoformat() if isinstance(since, datetime) else since
        params = {"by": by, "owner": owner, "lineage": lineage, "since": when, "limit": limit}
        return self._read(Accounts, "GET", "/v1/usage", params=params)

    def set_role(self, name: str, role: str | None) -> Owner:
        """Set the most that anything of a person's may do: viewer, user or admin; None: what each token says."""
        return self._read(Owner, "PUT", f"/v1/owners/{part(name)}/role", body={"role": role})

    def cap(self, name: str, *, if_match: str | None = None, **most: float | None) -> Owner:
        """Set what an owner may have, in place of what was set before: `cap("ada", running=4, gpus=8)`.

        most: by the fields of `Caps`; None, or left out: as much as there is.

        if_match: the owner's `etag` as it was seen; Changed is raised if someone has changed their caps since.
        """
        return self._read(Owner, "PUT", f"/v1/owners/{part(name)}/caps", body=most, headers=only_if(if_match))

    def uncap(self, name: str, *, if_match: str | None = None) -> None:
        """Take an owner's caps away; those of `*` apply. Raises NotFound if there are none. if_match: as of `cap`."""
        self._connection.call("DELETE", f"/v1/owners/{part(name)}/caps", headers=only_if(if_match))
