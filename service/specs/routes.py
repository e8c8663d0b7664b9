"""Recipes and the schema of what they make."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter, Depends

from service.access.callers import user
from service.bodies.base import Page
from service.bodies.jobs import Recipe, RecipeSummary
from service.errors import NotFound
from service.specs import catalog
from trainer.spec import JobSpec, SpecError

router = APIRouter(tags=["recipes"], dependencies=[Depends(user)])


@router.get("/v1/recipes")
def list_recipes() -> Page[RecipeSummary]:
    """All recipes: functions that return a whole spec."""
    return Page(items=catalog.summaries())


@router.get("/v1/recipes/{name}")
def show_recipe(name: str) -> Recipe:
    """One recipe with its full spec."""
    try:
        return catalog.recipe(name)
    except SpecError as error:
        raise NotFound(str(error)) from error


@router.get("/v1/schema")
def show_schema() -> dict[str, Any]:
    """The JSON schema of JobSpec."""
    return _schema()


@cache
def _schema() -> dict[str, Any]:
    return JobSpec.model_json_schema()
