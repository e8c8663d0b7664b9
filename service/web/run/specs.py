"""A run's spec, and in what it differs from what it was made of: its parent's, or the recipe that is next to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import yaml
from sqlalchemy import select

from service.context import Context
from service.db.tables import Job
from service.runs import edits
from service.web.run.head import Head
from trainer.families.table import recipes

NAMES = ("name", "labels", "notes", "data.digest", "spec_version")
"""What is no difference of the training."""


class Difference(NamedTuple):
    """A field."""

    path: str
    before: Any
    now: Any


def read(ctx: Context, head: Head, cursor: str | None) -> dict[str, Any]:
    """For the template."""
    own = _flat(head.run.spec)
    parent = _parent(ctx, head)
    if parent is not None:
        than, other = {"run": parent.id, "name": parent.name}, _flat(parent.spec)
    else:
        name = _recipe(own, str(head.run.spec["name"]))
        than, other = {"run": "", "name": name}, _recipes()[name]
    differences = [
        Difference(path, other.get(path), own.get(path))
        for path in dict.fromkeys([*own, *other])
        if own.get(path) != other.get(path)
    ]
    text = yaml.safe_dump(head.run.spec, sort_keys=False, allow_unicode=True, width=100)
    return {"than": than, "differences": differences, "text": text}


def _parent(ctx: Context, head: Head) -> Job | None:
    fork = head.run.fork
    if fork is None or fork.job is None:
        return None
    with ctx.db.read() as session:
        return session.scalar(select(Job).where(Job.id == fork.job))


def _flat(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in edits.flat(spec) if not path.startswith(NAMES)}


@cache
def _recipes() -> dict[str, dict[str, Any]]:
    return {name: _flat(make().model_dump(mode="json")) for name, make in recipes().items()}


def _recipe(own: Mapping[str, Any], named: str) -> str:
    """The recipe of its name, else the one from which it differs in the fewest fields."""

    def far(name: str) -> int:
        other = _recipes()[name]
        return sum(own.get(path) != other.get(path) for path in {*own, *other})

    return named if named in _recipes() else min(_recipes(), key=far)
