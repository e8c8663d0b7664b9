"""The trainer's recipes, as the API shows them."""

from __future__ import annotations

import inspect
from functools import cache

from service.bodies.jobs import Recipe, RecipeSummary
from trainer.families import table
from trainer.spec import FieldError, JobSpec, SpecError


@cache
def _all() -> dict[str, tuple[JobSpec, str]]:
    return {name: (make(), inspect.getdoc(make) or "") for name, make in table.recipes().items()}


def recipe_spec(name: str) -> JobSpec:
    """The full spec. Raises SpecError for a name that isn't known."""
    known = _all()
    if name not in known:
        fix = f"recipes: {', '.join(known)}"
        raise SpecError([FieldError(path="recipe", message="there is no such recipe", value=name, fix=fix)])
    return known[name][0]


def summaries() -> list[RecipeSummary]:
    """All recipes, in the table's order."""
    return [
        RecipeSummary(name=name, family=spec.arch.family, description=text) for name, (spec, text) in _all().items()
    ]


def recipe(name: str) -> Recipe:
    """One recipe. Raises SpecError for a name that isn't known."""
    spec = recipe_spec(name)
    return Recipe(name=name, family=spec.arch.family, description=_all()[name][1], spec=spec.model_dump(mode="json"))
