"""Whose what is that a path names: what only its owner and administrators change."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Deletion, Job, Token

_CAN_BE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Kind:
    """One kind of such things."""

    path: str
    """Of one, as routes' templates begin; the parameter is the last."""
    name: str
    owner: Callable[[Session, str], str | None]
    """None: there is no such thing."""
    instead: str
    """What others can do."""

    @property
    def parameter(self) -> str:
        """Of the path."""
        return self.path.rpartition("{")[2].rstrip("}")

    def has(self, template: str) -> bool:
        """Whether a route is about one of them."""
        return template == self.path or template.startswith(f"{self.path}/")


def owner_of_run(session: Session, run_id: str) -> str | None:
    """Also of one whose deletion is under way; None: there is no such job or search."""
    found = session.scalar(select(Job.owner).where(Job.id == run_id))
    return session.scalar(select(Deletion.owner).where(Deletion.id == run_id)) if found is None else found


KINDS = (
    Kind("/v1/jobs/{job_id}", "job", owner_of_run, "fork it, and do what you like with yours"),
    Kind("/v1/searches/{search_id}", "search", owner_of_run, "submit one of your own"),
    Kind(
        "/v1/datasets/{name}",
        "dataset",
        lambda session, name: session.scalar(select(Dataset.owner).where(Dataset.name == name)),
        "register the data under another name",
    ),
    Kind(
        "/v1/tokens/{token_id}",
        "token",
        lambda session, token: session.scalar(select(Token.owner).where(Token.id == token)),
        "GET /v1/tokens lists yours",
    ),
)


@dataclass(frozen=True)
class Thing:
    """One, and whose it is."""

    name: str
    owner: str
    """"": nobody knows."""
    instead: str


def kind_of(template: str) -> Kind | None:
    """The kind that a route is about."""
    return next((kind for kind in KINDS if kind.has(template)), None)


def find(session: Session, kind: Kind, params: Mapping[str, str]) -> Thing | None:
    """The one that the path names; None: there is none, and the endpoint says so."""
    given = params[kind.parameter]
    owner = kind.owner(session, given) if _CAN_BE.fullmatch(given) else None  # a database need not take whatever comes
    return None if owner is None else Thing(f"{kind.name} {given}", owner, kind.instead)
