"""Models, from the MLflow registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from service.auth.access import user
from service.context import Context, Ctx
from service.errors import Invalid, NotFound, Unavailable
from service.gateway.registry import Registry, RegistryMissingError, RegistryRefusedError, RegistryUnreachableError
from service.models.schemas import AliasRequest, ModelReply, VersionReply
from service.paging import Limit, Page
from trainer.spec import FieldError

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(user)])
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Alias = Annotated[str, Path(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,99}$")]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")]


@router.get("")
def list_models(ctx: Ctx, limit: Limit = 50, cursor: Cursor = None) -> Page[ModelReply]:
    """Registered models by name."""
    with _registry(ctx) as registry:
        found, following = registry.models(limit, cursor)
    return Page(items=[ModelReply.of(model) for model in found], next_cursor=following)


@router.get("/{name}")
def show(name: Name, ctx: Ctx) -> ModelReply:
    """One model with its aliases."""
    with _registry(ctx) as registry:
        return ModelReply.of(registry.model(name))


@router.get("/{name}/versions")
def list_versions(name: Name, ctx: Ctx, limit: Limit = 50, cursor: Cursor = None) -> Page[VersionReply]:
    """Its versions, newest first."""
    with _registry(ctx) as registry:
        found, following = registry.versions(name, limit, cursor)
    return Page(items=[VersionReply.of(version) for version in found], next_cursor=following)


@router.put("/{name}/aliases/{alias}")
def set_alias(name: Name, alias: Alias, body: AliasRequest, ctx: Ctx) -> ModelReply:
    """Point an alias, such as `champion`, at a version."""
    with _registry(ctx) as registry:
        registry.set_alias(name, alias, body.version)
        return ModelReply.of(registry.model(name))


@contextmanager
def _registry(ctx: Context) -> Iterator[Registry]:
    """The registry; what it raises becomes a problem."""
    if ctx.registry is None:
        raise Unavailable("no MLflow is configured; set AGON_MLFLOW_URI")
    try:
        yield ctx.registry
    except RegistryMissingError as error:
        raise NotFound(str(error)) from error
    except RegistryRefusedError as error:
        raise Invalid([FieldError(path="", message=str(error))]) from error
    except RegistryUnreachableError as error:
        raise Unavailable(str(error)) from error
