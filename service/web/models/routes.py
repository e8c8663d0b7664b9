"""Models: what is registered, one of them with its versions, and its explorer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service.access.callers import Away, User
from service.access.tokens import Principal
from service.bodies.models import Model, ModelVersion
from service.context import Context, Ctx
from service.elsewhere import Errand
from service.errors import NotFound, Unavailable
from service.gateway.registry import JOB_TAG, Registry, Version
from service.models import abilities, replies
from service.models.asking import ask
from service.models.routes import Cursor, Name
from service.runs import files, samples
from service.serving.questions import AsVersion
from service.serving.versions import CHAMPION
from service.web import assets, frame
from service.web.frame import View, Viewer
from service.web.models import card, explorer
from service.web.models.shown import Shown, columns, pointing, shown
from service.web.models.snippets import snippets
from trainer.abilities import Abilities

router = APIRouter(include_in_schema=False)
SECTION = "/models"
LISTED = 48
VERSIONS = 50
PICTURE_KEPT = "private, max-age=60"
JOB = re.compile(r"j-[0-9a-f]{12}")


@router.get("/models")
async def show_models(request: Request, ctx: Ctx, caller: User, errand: Away, cursor: Cursor = None) -> Response:
    """Registered models by name."""
    models: list[Model] = []
    following, away = None, ""
    try:
        found, following = await ask(ctx, errand, lambda registry: registry.models(LISTED, cursor))
        models = [replies.model(model) for model in found]
    except Unavailable as problem:
        away = problem.detail
    view = View("Models", SECTION)
    return frame.page(
        request, caller, "models/list.html", view, models=models, following=following, away=away, first=cursor is None
    )


@router.get("/models/{name}")
async def show_model(
    request: Request, name: Name, ctx: Ctx, caller: User, errand: Away, cursor: Cursor = None
) -> Response:
    """One model: its versions, who is champion and why, how to have it."""
    found, away = await _found(ctx, errand, name, cursor)
    told, best, can = await run_in_threadpool(_told, ctx, caller, found)
    here = str(request.base_url).rstrip("/")
    facts: dict[str, Any] = {
        "name": name, "model": found.model, "versions": told, "columns": columns(told), "following": found.following,
        "away": away, "first": cursor is None, "best": best, "can": can,
        "aliases": pointing(found.model) if found.model else {},
        "card": card.rendered(best.of.description) if best and best.of.description else "",
        "snippets": snippets(name, can, ctx.settings.mlflow_uri, here),
    }  # fmt: skip
    return frame.page(request, caller, "models/page.html", View(name, SECTION), **facts)


@router.get("/models/{name}/picture")
async def show_picture(name: Name, ctx: Ctx, caller: User, errand: Away, version: AsVersion = None) -> Response:
    """The newest sample grid of the training that made that version, or the champion; a sign where there is none."""
    where: str | None = None
    try:
        found = await ask(ctx, errand, lambda registry: _one(registry, name, version or CHAMPION))
        where = await run_in_threadpool(_grid, ctx, found.tags.get(JOB_TAG, ""))
    except (NotFound, Unavailable):
        pass
    return RedirectResponse(where or assets.url("models/none.svg"), 303, {"Cache-Control": PICTURE_KEPT})


@router.get("/models/{name}/explore")
async def explore(request: Request, name: Name, ctx: Ctx, caller: User, errand: Away) -> Response:
    """Seeds, classes, codes and truncation to play with. Its state is its URL."""
    asked = explorer.read(request.query_params)
    found, away = await _found(ctx, errand, name, None, asked.of)
    told, best, can = await run_in_threadpool(_told, ctx, caller, found)
    view = View(f"{name}: explorer", SECTION, scripts=("models/explore.js",), wide=True)
    facts: dict[str, Any] = {
        "name": name, "asked": asked, "versions": told, "away": away, "best": best, "can": can, "shows": explorer.SHOWS,
        "aliases": found.model.aliases if found.model else {}, "url": partial(explorer.url, name),
        "turns": explorer.TURNS, "defaults": explorer.defaults(code.name for code in (can.codes if can else ())),
        "most_bytes": ctx.settings.max_body_bytes * 3 // 4 - 4096,
    }  # fmt: skip
    return frame.page(request, caller, "models/explore.html", view, **facts)


@dataclass(frozen=True)
class _Found:
    """What MLflow says."""

    model: Model | None = None
    versions: Sequence[ModelVersion] = ()
    following: str | None = None
    best: ModelVersion | None = None
    """The one that is looked at."""


async def _found(ctx: Context, errand: Errand, name: str, cursor: str | None, of: str = "") -> tuple[_Found, str]:
    """And what is told if it doesn't answer. of: the version or alias that is looked at. Raises NotFound."""
    try:
        return await ask(ctx, errand, lambda registry: _look(registry, name, cursor, of)), ""
    except Unavailable as problem:
        return _Found(), problem.detail


def _look(registry: Registry, name: str, cursor: str | None, of: str) -> _Found:
    """In one turn. Raises as the registry does."""
    model = replies.model(registry.model(name))
    found, following = registry.versions(name, VERSIONS, cursor)
    versions = [replies.version(version) for version in found]
    number = model.aliases.get(of or CHAMPION, of)
    best = next((version for version in versions if version.version == number), None)
    if best is None and number:
        best = replies.version(_one(registry, name, number))
    return _Found(model, versions, following, best or next(iter(versions), None))


def _one(registry: Registry, name: str, of: str) -> Version:
    return registry.version(name, of) if of.isdecimal() else registry.aliased(name, of)


def _told(ctx: Context, caller: Principal, found: _Found) -> tuple[list[Shown], Shown | None, Abilities | None]:
    """All, the one that is looked at, and what that one can do."""
    with ctx.db.read() as session:
        told = shown(session, [*found.versions, *filter(None, [found.best])], Viewer(caller))
        if found.best is None:
            return told, None, None
        return told[:-1], told[-1], abilities.of_version(session, found.best.tags)


def _grid(ctx: Context, job: str) -> str | None:
    """Where the newest grid of a job is; None: it has none."""
    if not JOB.fullmatch(job) or not samples.steps(ctx.settings.jobs_root, files.job_dir(ctx.settings, job)):
        return None
    return f"/v1/jobs/{job}/samples"
