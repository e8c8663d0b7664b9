"""What of the runs a page's address asks for: the parameters of `GET /v1/jobs` and `/v1/searches`, as a form sends them, with its empty
fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams

from service.bodies.states import State
from service.errors import Invalid
from service.runs.lists import MOST_FILTERS, Filter, Owner, Wanted
from trainer.spec import FieldError
from trainer.spec.errors import short

FIXES = {
    "state": "it is one of " + ", ".join(State),
    "name": "write all of a name: letters, digits, '.', '_' and '-', 64 at most",
    "family": "write a family's name, e.g. dcgan",
    "owner": "write a person's name: letters, digits, '.', '_', '@' and '-', 64 at most",
}
MANY = ("label", "score")
"""Of these there may be several, and all count."""


class _OfRow(BaseModel):
    """What REST checks each field by."""

    state: State | None = None
    name: Filter = None
    family: Filter = None
    owner: Owner = None


@dataclass(frozen=True)
class Asked:
    """The filters of a list."""

    section: str
    """Where the list is."""
    given: tuple[tuple[str, str], ...] = ()
    """As they were written, without what is empty."""
    wanted: Wanted = field(default_factory=Wanted)
    """Nothing of it counts if anything is wrong."""
    wrong: dict[str, FieldError] = field(default_factory=dict)

    def values(self, name: str) -> list[str]:
        """What is asked for of that name."""
        return [value for key, value in self.given if key == name]

    def query(self, **changes: str) -> str:
        """The filters as a query, with other values of these names; "": without it."""
        kept = [(name, value) for name, value in self.given if name not in changes]
        return urlencode([*kept, *((name, value) for name, value in changes.items() if value)])

    def path(self, **changes: str) -> str:
        """Where the list is that has these."""
        query = self.query(**changes)
        return self.section + (f"?{query}" if query else "")


def read(section: str, params: QueryParams) -> Asked:
    """Wrong values are named, and nothing is raised."""
    names = (*_OfRow.model_fields, *MANY)
    given = tuple((name, value.strip()) for name, value in params.multi_items() if name in names and value.strip())
    row = {name: value for name, value in given if name not in MANY}
    several = {name: [value for key, value in given if key == name] for name in MANY}
    wrong: dict[str, FieldError] = {}
    found: dict[str, Any] = {}
    try:
        found = dict(_OfRow.model_validate(row))
    except ValidationError as error:
        for item in error.errors():
            name = str(item["loc"][0])
            wrong[name] = FieldError(path=name, message=f"is no {name}", value=short(row[name]), fix=FIXES[name])
    labels = _several("label", several["label"], wrong, lambda some: Wanted.read(some, ()).labels)
    scores = _several("score", several["score"], wrong, lambda some: Wanted.read((), some).scores)
    return Asked(section, given, Wanted() if wrong else Wanted(**found, labels=labels, scores=scores), wrong)


def _several(
    name: str, values: Sequence[str], wrong: dict[str, FieldError], parse: Callable[[Sequence[str]], tuple[Any, ...]]
) -> tuple[Any, ...]:
    if len(values) > MOST_FILTERS:
        wrong[name] = FieldError(path=name, message="is asked for too often", fix=f"{MOST_FILTERS} of them at most")
        return ()
    try:
        return parse(values)
    except Invalid as problem:
        wrong[name] = problem.errors[0]
        return ()
