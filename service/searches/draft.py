"""From a request to a search that may run: base, space, whether its data fit and its trials fit the cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import JsonValue, ValidationError
from starlette.concurrency import run_in_threadpool

from service.bodies.searches import Extension, SearchRequest
from service.context import Context
from service.db.session import Database
from service.elsewhere import Errand
from service.errors import Invalid, Unavailable
from service.gateway.ray_jobs import RayUnreachableError
from service.plans import preflight
from service.runs.growth import grown
from service.runs.kinds import SEARCH
from service.runs.queue import why_never
from service.specs.catalog import recipe_spec
from service.specs.draft import MAX_PATH, MAX_TEXT, changed, settled, with_dataset
from trainer.search import SearchSpec, parse_search
from trainer.spec import FieldError, SpecError
from trainer.spec.errors import short

BASE = "search.base"


def digest(request: SearchRequest) -> str:
    """SHA-256 of the request in canonical form: what an idempotency key stands for."""
    text = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


async def resolve(request: SearchRequest, ctx: Context, errand: Errand) -> SearchSpec:
    """The full search that the request means, its base checked against its data.

    Raises Invalid with every wrong field, Unavailable if its data don't answer in time.
    """
    search = await run_in_threadpool(_asked, request, ctx.db)
    with _of_base():
        base = await settled(search.base, ctx, errand)
    return search if base == search.base else search.replace(base=base)


def _asked(request: SearchRequest, db: Database) -> SearchSpec:
    if errors := [*_too_much(request.search.get("space"), "search.space")]:
        raise Invalid(errors, "search")
    raw = {**request.search, "base": _base(request.search.get("base"), db)}
    if raw["base"] is None:
        del raw["base"]
    try:
        return parse_search(raw)
    except SpecError as error:
        raise Invalid(below("search", error.errors), "search") from error


async def check_fit(search: SearchSpec, ctx: Context, errand: Errand, base: str = BASE) -> None:
    """Raises Invalid if no trial could ever run on this cluster, as far as it answers. base: where the request has the base."""
    try:
        nodes = await ctx.elsewhere.ray.run(ctx.ray.nodes, errand=errand)
    except (RayUnreachableError, Unavailable):
        nodes = []
    need = SEARCH.need(search.model_dump(mode="json"))
    if nodes and (reason := why_never(grown(nodes, ctx.settings.max_nodes), need)) is not None:
        fix = "lower workers, cpus_per_worker or gpus_per_worker, or add such nodes first"
        error = FieldError(path=f"{base}.resources", message=f"one trial {reason}", fix=fix)
        raise Invalid([error], "search")
    with _of_base(base):
        await preflight.check(search.base, ctx, errand)


def extended(search: SearchSpec, by: Extension) -> SearchSpec:
    """The search with more to do. Raises Invalid if it has not."""
    trials = search.trials if by.trials is None else by.trials
    budget = by.budget or search.budget
    if trials < search.trials:
        fix = f"more than {search.trials}; trials are ended by POST /v1/searches/{{search}}/trials/{{trial}}/stop"
        raise Invalid([FieldError(path="trials", message="is less than before", value=str(trials), fix=fix)])
    if (trials, budget) == (search.trials, search.budget):
        fix = f"more than {search.trials} trials, or another budget"
        raise Invalid([FieldError(path="trials", message="is what it had already", value=str(trials), fix=fix)])
    try:
        longer = search.replace(trials=trials, budget=budget)
    except ValidationError as error:  # what is stored was valid under an older version
        raise Invalid([FieldError(path="search", message=str(error.errors()[0]["msg"]))]) from error
    if (longer.trials, longer.budget) == (search.trials, search.budget):
        message = f"is more than the space has: it takes all {search.trials} combinations already"
        fix = "submit a search over a larger space, or give another budget"
        raise Invalid([FieldError(path="trials", message=message, value=str(trials), fix=fix)])
    return longer


def below(section: str, errors: Sequence[FieldError]) -> list[FieldError]:
    """The same errors with paths that begin with the section."""
    return [error.model_copy(update={"path": f"{section}.{error.path}" if error.path else section}) for error in errors]


def _base(raw: JsonValue, db: Database) -> JsonValue:
    """The base with its recipe and its dataset's name looked up; whether it is a valid spec, the search's own check says."""
    given = {"recipe": raw} if isinstance(raw, str) else raw
    if not isinstance(given, dict):
        return raw
    with _of_base():
        if "recipe" not in given:
            return with_dataset(given, db)
        if unknown := given.keys() - {"recipe", "set"}:
            fix = "give recipe and set alone, or the whole spec"
            raise SpecError([FieldError(path=min(unknown)[:MAX_PATH], message="unknown field", fix=fix)])
        name, changes = given["recipe"], given.get("set", {})
        if not isinstance(name, str) or not isinstance(changes, dict):
            path, value = ("set", changes) if isinstance(name, str) else ("recipe", name)
            raise SpecError([FieldError(path=path, message="has the wrong type", value=short(value))])
        return changed(recipe_spec(name), changes, db).model_dump(mode="json")


@contextmanager
def _of_base(base: str = BASE) -> Iterator[None]:
    """What is refused of the base, with paths of the search."""
    try:
        yield
    except (SpecError, Invalid) as error:
        raise Invalid(below(base, error.errors), "search") from error


def _too_much(value: JsonValue, path: str) -> Iterator[FieldError]:
    """Texts of a space that are too long to be values or paths."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            yield FieldError(path=path[:MAX_PATH], message="is too long", value=short(value))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _too_much(item, f"{path}.{index}")
    elif isinstance(value, dict):
        for name, item in value.items():
            if len(name) > MAX_PATH or "=" in name:
                yield FieldError(path=path[:MAX_PATH], message="holds what is no path", value=short(name))
            else:
                yield from _too_much(item, f"{path}.{name}")
