"""Published models, asked over HTTP: samples, paths, traversals, encodings, neighbours. And what answers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.access.callers import Admin, user
from service.bodies.serving import Serving
from service.context import Context, Ctx
from service.runs import served
from service.serving.asker import Asker
from service.serving.questions import IMAGES, Door, read
from service.serving.states import shown
from trainer.serve import questions

router = APIRouter(dependencies=[Depends(user)])
At = Annotated[Door, Depends()]
MOST_SEEDS = 256
"""That a URL may name."""
Choice = Annotated[str | None, Query(max_length=200, description="A class by its number or its name.")]
_ANSWERS: dict[str, Any] = {"response_class": Response, "responses": IMAGES, "tags": ["models"]}


@router.post("/v1/models/{name}/generate", **_ANSWERS)
async def generate(body: questions.Generate, door: At) -> Response:
    """Samples, as one picture, single pictures or arrays. The same question has the same answer, byte for byte.

    Of all questions: the model's version by `version` or `alias`. 503 with Retry-After and the reason where nothing can answer yet, 429
    when too many are under way. `If-None-Match` with the answer's ETag: 304, and nothing is computed.
    """
    return await door.ask("generate", body)


@router.post("/v1/models/{name}/path", **_ANSWERS)
async def path(body: questions.Path, door: At) -> Response:
    """Frames along the latents from one stop to the next, in one picture or moving."""
    return await door.ask("path", body)


@router.post("/v1/models/{name}/traverse", **_ANSWERS)
async def traverse(body: questions.Traverse, door: At) -> Response:
    """One latent code, or one direction of the latents, varied along each row."""
    return await door.ask("traverse", body)


@router.post("/v1/models/{name}/encode", **_ANSWERS)
async def encode(body: questions.Encode, door: At) -> Response:
    """Latents of images, of a model with an encoder."""
    return await door.ask("encode", body)


@router.post("/v1/models/{name}/reconstruct", **_ANSWERS)
async def reconstruct(body: questions.Reconstruct, door: At) -> Response:
    """Images above their reconstructions, of a model with an encoder."""
    return await door.ask("reconstruct", body)


@router.post("/v1/models/{name}/neighbours", **_ANSWERS)
async def neighbours(body: questions.Neighbours, door: At) -> Response:
    """The nearest training images to samples, or to given images."""
    return await door.ask("neighbours", body)


# -- the same as a page's <img> asks, where a question is short


@router.get("/v1/models/{name}/generate", **_ANSWERS)
async def generated(
    request: Request,
    door: At,
    n: int | None = None,
    seed: int = 0,
    start: int = 0,
    labels: Annotated[
        list[str] | None,
        Query(max_length=100, description="A class by number or name for all; or one for each, repeated."),
    ] = None,
    seeds: Annotated[list[int] | None, Query(max_length=MOST_SEEDS, description="Instead: these, repeated.")] = None,
    codes: Annotated[
        list[str] | None, Query(max_length=64, description="A latent code that is set: `c1=3`; repeated for others.")
    ] = None,
    truncation: float | None = None,
    form: str = "png",
    columns: int | None = None,
) -> Response:
    """The same of what a URL can say: a page shows it with `<img>`, and a browser keeps it."""
    chosen = [_label(label) for label in labels or ()]
    one = chosen[0] if len(chosen) == 1 else chosen
    question = read(
        questions.Generate,
        request,
        n=n,
        seed=seed,
        start=start,
        seeds=seeds or (),
        labels=one,
        codes=_codes(codes or ()),
        truncation=truncation,
        form=form,
        columns=columns,
    )
    return await door.ask("generate", question)


@router.get("/v1/models/{name}/path", **_ANSWERS)
async def pathed(
    request: Request,
    door: At,
    seeds: Annotated[list[int] | None, Query(max_length=questions.MOST_STOPS, description="Stops, repeated.")] = None,
    label: Choice = None,
    curve: str | None = None,
    frames: int = 30,
    loop: bool = False,
    fps: int = 15,
    truncation: float | None = None,
    form: str = "webp",
    columns: int | None = None,
) -> Response:
    """The same between seeds, of what a URL can say."""
    values: dict[str, Any] = {
        "seeds": seeds or (),
        "label": _label(label),
        "curve": curve,
        "frames": frames,
        "loop": loop,
    }
    values |= {"fps": fps, "truncation": truncation, "form": form, "columns": columns}
    return await door.ask("path", read(questions.Path, request, **values))


@router.get("/v1/models/{name}/traverse", **_ANSWERS)
async def traversed(
    request: Request,
    door: At,
    code: Annotated[str | None, Query(max_length=100)] = None,
    low: float | None = None,
    high: float | None = None,
    toward: int | None = None,
    steps: int | None = None,
    rows: int = 8,
    seed: int = 0,
    label: Choice = None,
    truncation: float | None = None,
    form: str = "png",
    fps: int = 10,
) -> Response:
    """The same of a code or towards a seed, of what a URL can say."""
    values: dict[str, Any] = {"code": code, "low": low, "high": high, "steps": steps, "rows": rows, "seed": seed}
    values |= {"toward": toward, "label": _label(label), "truncation": truncation, "form": form, "fps": fps}
    return await door.ask("traverse", read(questions.Traverse, request, **values))


def _label(text: str | None) -> str | int | None:
    """In a URL a class that is written as a number is that number."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 12 else text


def _codes(texts: Sequence[str]) -> dict[str, str]:
    """`c1=3` as the code's name and its value; what isn't written so is refused with the question."""
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


# -- what answers


@router.get("/v1/serve", tags=["serve"])
async def show(ctx: Ctx) -> Serving:
    """What answers questions to models: whether it is there, what it holds on the cluster, and if not, why."""
    return await run_in_threadpool(_shown, ctx)


@router.delete("/v1/serve", tags=["serve"], status_code=202)
async def stop(ctx: Ctx, caller: Admin) -> Serving:
    """End all of it now; its place is free a moment later. The next question starts it anew. Administrators only: it is everyone's."""
    await run_in_threadpool(served.stop, ctx.db)
    for name in served.NAMES:
        ctx.of(Asker).places.forget(name)  # so that the next question is written at once
    ctx.ring()
    return await run_in_threadpool(_shown, ctx)


def _shown(ctx: Context) -> Serving:
    places = ctx.of(Asker).places
    now = places.now()
    return Serving(
        enabled=ctx.settings.serve,
        idle_seconds=ctx.settings.serve_idle_seconds,
        applications=tuple(shown(place, now, ctx.settings.serve_idle_seconds) for place in places.all()),
    )
