"""Models, from the MLflow registry."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from starlette.concurrency import run_in_threadpool

from service.access import rules, things
from service.access.callers import Away, User, user
from service.access.tokens import Principal, Scope
from service.bodies.base import Page
from service.bodies.models import AliasRequest, Model, ModelVersion
from service.context import Context, Ctx
from service.errors import Forbidden
from service.gateway.registry import JOB_TAG, Registry, RegistryMissingError
from service.models import packages, replies
from service.models.asking import ALIAS_SECONDS, ask
from service.paging import Limit, Onward
from service.ranges import ARCHIVE, TAR, IfRange, Range, attached

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(user)])
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Alias = Annotated[str, Path(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,99}$")]
Number = Annotated[str, Path(pattern=r"^[0-9]{1,18}$", description="A version's number.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")]


@router.get("")
async def list_models(ctx: Ctx, errand: Away, onward: Onward, limit: Limit = 50, cursor: Cursor = None) -> Page[Model]:
    """Registered models by name."""
    found, following = await ask(ctx, errand, lambda registry: registry.models(limit, cursor))
    return onward(Page(items=[replies.model(model) for model in found], next_cursor=following))


@router.get("/{name}")
async def show(name: Name, ctx: Ctx, errand: Away) -> Model:
    """One model with its aliases."""
    return replies.model(await ask(ctx, errand, lambda registry: registry.model(name)))


@router.get("/{name}/versions")
async def list_versions(
    name: Name, ctx: Ctx, errand: Away, onward: Onward, limit: Limit = 50, cursor: Cursor = None
) -> Page[ModelVersion]:
    """Its versions, newest first."""
    found, following = await ask(ctx, errand, lambda registry: registry.versions(name, limit, cursor))
    return onward(Page(items=[replies.version(version) for version in found], next_cursor=following))


@router.get("/{name}/versions/{version}/package", response_class=Response, responses=ARCHIVE)
async def package(
    name: Name, version: Number, ctx: Ctx, caller: User, errand: Away, range_: Range = None, if_range: IfRange = None
) -> Response:
    """Its package as a tar, `checksums.json` last, which has the SHA-256 of all other files. What broke off goes on by `Range`."""
    found = await ask(ctx, errand, lambda registry: _packed(registry, name, version))
    downloads, registry = ctx.of(packages.Downloads), ctx.registry
    assert registry is not None  # noqa: S101 — it was asked
    status, begin, end, headers = attached(f"{name}-{version}.tar", found.tag, found.size, range_, if_range)
    downloads.enter(caller.owner)
    pieces = found.pieces(registry, begin, end)
    return packages.Download(
        downloads, caller.owner, pieces, end - begin, status_code=status, headers=headers, media_type=TAR
    )


def _packed(registry: Registry, name: str, number: str) -> packages.Package:
    version = registry.version(name, number)
    return packages.pack(name, version, registry.files(version))


@router.put("/{name}/aliases/{alias}")
async def set_alias(name: Name, alias: Alias, body: AliasRequest, ctx: Ctx, caller: User, errand: Away) -> Model:
    """Point an alias, such as `champion`, at a version. 403 if that one, or the one that it points at now, is of another's run.

    The answer comes when no process of the API goes by what the alias meant before: half a second later where models may be asked.
    """
    if caller.scope is not Scope.ADMIN:
        versions = await ask(ctx, errand, lambda registry: _concerned(registry, name, alias, body.version))
        await run_in_threadpool(_check_theirs, ctx, caller, name, versions)
    await ask(ctx, errand, lambda registry: registry.set_alias(name, alias, body.version))
    if ctx.settings.serve:
        await asyncio.sleep(ALIAS_SECONDS)
    return replies.model(await ask(ctx, errand, lambda registry: registry.model(name)))


def _concerned(registry: Registry, name: str, alias: str, version: str) -> dict[str, str]:
    """The versions that an alias leaves and comes to, with the run that made each, where that is known."""
    now = registry.model(name).aliases.get(alias)
    found = {version: registry.version(name, version)}
    if now is not None and now != version:
        with suppress(RegistryMissingError):  # deleted
            found[now] = registry.version(name, now)
    return {number: of.tags[JOB_TAG] for number, of in found.items() if JOB_TAG in of.tags}


def _check_theirs(ctx: Context, caller: Principal, name: str, versions: dict[str, str]) -> None:
    """Raises Forbidden."""
    with ctx.db.read() as session:
        for version, made_by in versions.items():
            owner = things.owner_of_run(session, "-".join(made_by.split("-")[:2])) or ""  # a trial's is SEARCH-TRIAL
            if not rules.may_change(caller.scope, caller.owner, owner):
                raise Forbidden(
                    f"version {version} of {name} is of {owner}'s {made_by}: only {owner} or an administrator may move an alias to it, "
                    "or away from it; ask them, or use another alias"
                )
