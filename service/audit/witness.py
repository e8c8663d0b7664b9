"""Sees every request that is to change something, at one place, and writes what became of it.

The record of a change is written in the transaction that makes it, the first that commits while the request is served: neither is
there without the other. What no transaction covers (`Deed.ahead`) is recorded before, as begun. Either is put right when
the answer has another status than the route's usual one. A refusal changed nothing: it is counted, and written within a second
(`service.audit.refusals`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from service.access.tokens import Principal
from service.audit import store
from service.audit.deeds import AUTHENTICATE, CHANGING, Deed, Table
from service.audit.refusals import Refusals
from service.audit.store import Record
from service.db import session as sessions
from service.db.session import Database
from service.db.tables import Base, Dataset, Job, Token, Webhook
from service.http import GONE

MADE: Mapping[str, tuple[type[Base], str]] = {
    "job": (Job, "id"),
    "search": (Job, "id"),
    "token": (Token, "id"),
    "dataset": (Dataset, "name"),
    "webhook": (Webhook, "id"),
}
"""Of a deed without a target: what it makes, by the target's kind, and what that is called."""
SAID = ("name", "owner", "scope", "role", "version", "dry_run")
"""Fields whose values are recorded, too; of all others the names alone."""
MOST_FIELDS, LONGEST = 20, 80
SENT_AWAY = (403, 429)
"""What of deeds that change nothing is recorded: a job's token that is used for something else is worth to know of."""
REFUSED = range(400, 500)
PARSED = 64 * 1024
"""Of a longer body no fields are named."""
_NAME = re.compile(r"[A-Za-z0-9_./@-]+")


class Witness:
    """Of one request."""

    def __init__(self, watch: Watch, scope: Scope, request_id: str) -> None:
        self._watch, self._scope, self._request_id = watch, scope, request_id
        found = watch.table.find(scope["method"], scope["path"]) if scope["method"] in CHANGING else None
        self._deed: Deed | None = found[0] if found else None
        self._target = found[1] if found else ""
        self._body = b""
        self._made: Sequence[object] = ()
        self._written: int | None = None
        """Id of the record, once it is committed."""
        self._said: int | None = None
        """The status that it has."""
        self._writing: int | None = None

    @property
    def deed(self) -> Deed | None:
        """What the request is to do; None: it changes nothing."""
        return self._deed

    async def begins(self, body: bytes) -> None:
        """The caller is known, the body is read, the endpoint is next."""
        self._body = body
        if self._deed is not None and self._deed.ahead:
            await run_in_threadpool(self._ahead)

    def _ahead(self, status: int | None = None) -> None:
        """Write the record in a transaction of its own."""
        with self._watch.db.begin(unseen=True) as session:
            written = store.write(session, self._record(status))
        self._written, self._said = written, status

    # -- of the first transaction that commits

    def commits(self, session: Session) -> None:
        """It is about to end well."""
        self._writing = None
        if self._written is None and self._deed is not None and not self._deed.quiet:
            session.flush()
            self._made = sessions.all_made(session)
            self._said = getattr(self._scope.get("route"), "status_code", None) or 200
            self._writing = store.write(session, self._record(self._said))

    def committed(self) -> None:
        """It has."""
        if self._writing is not None:
            self._written, self._writing = self._writing, None

    # -- at the end

    async def ended(self, status: int, *, repeated: bool) -> None:
        """The request was answered with this. repeated: it was made before, and changed nothing now."""
        if status == 401:
            self._deed, self._target = Deed(AUTHENTICATE), ""
            self._watch.refusals.count(self._record(status))
        elif self._deed is None or status == GONE or (self._deed.quiet and status not in SENT_AWAY):
            return
        elif self._written is None and status < 400:
            if not repeated:
                await run_in_threadpool(self._ahead, status)
        elif self._written is None or (self._deed.ahead and status in REFUSED):
            self._made = ()  # what was begun was taken back
            self._watch.refusals.count(self._record(status))
            if self._written is not None:
                await run_in_threadpool(store.forget_one, self._watch.db, self._written)
        elif status != self._said:
            await run_in_threadpool(store.answered, self._watch.db, self._written, status)

    def _record(self, status: int | None) -> Record:
        deed, caller = self._deed, self._scope.get("state", {}).get("principal")
        assert deed is not None  # noqa: S101 — asked by the callers
        who = caller if isinstance(caller, Principal) else None
        target = self._target or self._named()
        peer = (self._scope.get("client") or ("", 0))[0]
        return Record(
            time=datetime.now(UTC),
            owner=who.owner if who else "",
            token=who.id if who else "",
            token_name=who.name if who else "",
            role=str(who.scope) if who else "",
            request_id=self._request_id,
            action=deed.word,
            kind=deed.kind if target else "",
            target=_plain(target)[:160],
            status=status,
            peer=str(peer)[:64],
            detail=self._detail() if deed.word != AUTHENTICATE else None,
        )

    def _named(self) -> str:
        """Of what was made."""
        kind, name = MADE.get(self._deed.kind if self._deed else "", (None, ""))
        found = [getattr(made, name) for made in self._made if kind is not None and isinstance(made, kind)]
        return str(found[0]) if found else ""

    def _detail(self) -> dict[str, Any] | None:
        """Which fields were sent, and what a few of them said."""
        found = _fields(self._body) if len(self._body) <= PARSED else {}
        query = self._scope.get("query_string", b"").decode("latin-1")
        names = [*found, *(word.partition("=")[0] for word in query.split("&") if word)]
        fields = [name for name in dict.fromkeys(names) if len(name) <= LONGEST and _NAME.fullmatch(name)][:MOST_FIELDS]
        said = {name: found[name] for name in SAID if _is_short(found.get(name))}
        return ({"fields": fields} if fields else {}) | ({"values": said} if said else {}) or None


class Watch:
    """What all requests' witnesses share; one per application."""

    def __init__(self, db: Database) -> None:
        self.db, self.table, self.refusals = db, Table(()), Refusals(db)

    def learn(self, routes: Sequence[Any]) -> None:
        """The routes that there are."""
        self.table = Table(routes)

    @contextmanager
    def __call__(self, scope: Scope, request_id: str) -> Iterator[Witness]:
        """While a request is served: its transactions are seen."""
        witness = Witness(self, scope, request_id)
        token = sessions.WITNESS.set(witness)
        try:
            yield witness
        finally:
            sessions.WITNESS.reset(token)


def _fields(body: bytes) -> dict[str, Any]:
    """The body's fields; those of `set` by their paths."""
    try:
        found = json.loads(body) if body else {}
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    changes = found.get("set")
    if isinstance(changes, dict):
        return {**{name: value for name, value in found.items() if name != "set"}, **dict.fromkeys(changes)}
    return found


def _is_short(value: object) -> bool:
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= LONGEST and value.isprintable())


def _plain(text: str) -> str:
    """What a path holds that was refused is anything: no database and no terminal takes all of that."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
