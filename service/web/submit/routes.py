"""Submit a job: a recipe, or the checkpoint of a run, as a form made of the schema."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.access.callers import User
from service.bodies.forks import MOST_STEP
from service.context import Context, Ctx
from service.datasets import store as datasets
from service.errors import Invalid
from service.runs import store
from service.runs.kinds import JOB
from service.specs import catalog
from service.web import frame
from service.web.frame import View
from service.web.submit import fields
from trainer.spec import JobSpec, SpecError, dump_spec, parse_spec

router = APIRouter(include_in_schema=False)
SECTION = "/submit"
SCRIPTS = ("submit/submit.js",)
RecipeName = Annotated[str | None, Query(max_length=100)]
JobId = Annotated[str | None, Query(alias="from", max_length=40, pattern=r"^[a-z0-9-]+$")]
Step = Annotated[str, Query(pattern=r"^(latest|best|\d{1,18})$")]
Mode = Annotated[str, Query(pattern=r"^(state|weights)$")]
DatasetName = Annotated[str | None, Query(max_length=64, pattern=r"^[a-z0-9._-]+$")]


@router.get("/submit")
async def show(
    request: Request, ctx: Ctx, caller: User, recipe: RecipeName = None, job: JobId = None, step: Step = "latest",
    mode: Mode = "state", dataset: DatasetName = None,
) -> Response:  # fmt: skip
    """The recipes, or one as a form; `from=JOB&step=N`: a fork. `dataset`: the data that it is to be trained on."""
    known = [one.name for one in await run_in_threadpool(_datasets, ctx)]
    if recipe is None and job is None:
        facts: dict[str, Any] = {"recipes": catalog.summaries(), "dataset": dataset}
        return frame.page(request, caller, "submit/list.html", View("Submit", SECTION), **facts)
    base, spec, words, title = await run_in_threadpool(_begun, ctx, recipe, job, step, mode)
    values = await run_in_threadpool(_of_dataset, ctx, spec, dataset) if dataset else {}
    found = fields.sections(spec.model_dump(mode="json"), values)
    facts = {
        "base": base, "title": title, "text": dump_spec(spec), "command": words, "parts": found, "family": spec.arch.family,
        "first": fields.first(found), "known": known, "mode": mode if job else "", "step": step, "job": job,
        "about": catalog.recipe(recipe).description if recipe else "", "dataset": dataset,
    }  # fmt: skip
    return frame.page(request, caller, "submit/page.html", View(title, SECTION, scripts=SCRIPTS), **facts)


def _begun(
    ctx: Context, recipe: str | None, job: str | None, step: str, mode: str
) -> tuple[dict[str, Any], JobSpec, str, str]:
    """What REST is told that the job begins with, the spec without a change, the same as a command, and a title. Raises Invalid, NotFound."""
    if job is not None:
        with ctx.db.read() as session:
            row = store.get(session, job, JOB)
        checkpoint: str | int = int(step) if step.isdecimal() else step
        if step.isdecimal() and int(step) >= MOST_STEP:
            checkpoint = MOST_STEP - 1
        words = f"agon fork {job} --at {checkpoint}{' --weights' if mode == 'weights' else ''}"
        begun = {"from": {"job": job, "checkpoint": checkpoint, "mode": mode}}
        return begun, _parsed(row.spec), words, f"Fork {row.name}"
    try:
        spec = catalog.recipe_spec(recipe or "")
    except SpecError as error:
        raise Invalid(error.errors, "request") from error
    return {"recipe": recipe}, spec, f"agon submit {shlex.quote(recipe or '')}", f"Submit {recipe}"


def _parsed(raw: dict[str, Any]) -> JobSpec:
    try:
        return parse_spec(raw)
    except SpecError as error:
        raise Invalid(error.errors, "spec") from error


def _of_dataset(ctx: Context, spec: JobSpec, name: str) -> dict[str, str]:
    """What of the spec the data ask for. Raises NotFound."""
    facts = datasets.get(ctx.db, name).manifest
    wanted = {"resolution": facts["resolution"], "channels": facts["channels"]}
    if spec.arch.conditional:
        wanted["classes"] = len(facts["classes"])
    return {"data.url": f"dataset:{name}", **{f"arch.{field}": str(value) for field, value in wanted.items()}}


def _datasets(ctx: Context) -> list[Any]:
    with ctx.db.read() as session:
        return list(datasets.page(session, 200, None)[0])
