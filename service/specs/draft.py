"""From a request to a spec that may run: recipe and overrides, dataset names, validity, and whether the data fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue
from starlette.concurrency import run_in_threadpool

from service.bodies.jobs import JobRequest
from service.context import Context
from service.datasets import store as datasets
from service.datasets.places import absolute
from service.db.session import Database
from service.db.tables import Dataset
from service.elsewhere import Errand
from service.errors import Invalid, Unavailable
from service.settings import Settings
from service.specs import onward
from service.specs.catalog import recipe_spec
from service.specs.onward import Origin
from trainer.data.fetch import check_reach
from trainer.data.locate import locate_file
from trainer.data.manifest import DatasetManifest, mismatches, read_manifest
from trainer.errors import BadDataError, DataAwayError
from trainer.search import SearchSpec
from trainer.spec import FieldError, JobSpec, SpecError, parse_spec, with_values
from trainer.spec.errors import short

DATASET = "dataset:"
EXTRACTOR = "evaluation.extractor"
STAND_IN = "file:///registered-dataset"
"""Stands where the name of a dataset stood that isn't known, while the rest of the spec is checked."""
MAX_SET = 200
MAX_PATH = 200
MAX_TEXT, MAX_TEXTS = 4000, 20_000
"""Characters of one text among changes, and of all: each is read as YAML, which takes a processor's time."""


def digest(request: JobRequest) -> str:
    """SHA-256 of the request in canonical form: what an idempotency key stands for."""
    afresh = request.trial is None and isinstance(request.from_, str)
    of_trials = {"trial", "from_"} if afresh else set()  # keys that are older than trials stay good
    text = json.dumps(request.model_dump(mode="json", exclude=of_trials), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


async def resolve(request: JobRequest, ctx: Context, errand: Errand) -> JobSpec:
    """The full spec that the request means, checked against its data and with its digest.

    Raises Invalid with every wrong field, Conflict if a checkpoint that it begins with isn't there, Unavailable if its data
    don't answer in time.
    """
    origin = await onward.origin_of(request, ctx, errand)
    return await resolved(request, origin, ctx, errand)


async def resolved(request: JobRequest, origin: Origin | None, ctx: Context, errand: Errand) -> JobSpec:
    """As :func:`resolve`, for a request of which it is known what it goes on with."""
    spec, is_settled = await run_in_threadpool(_as_far_as_is_near, request, origin, ctx)
    if not is_settled:
        spec = await settled(spec, ctx, errand)
    if origin is not None:
        onward.check(origin, spec, {path for path, _ in _leaves(request.set)})
    return spec


def _as_far_as_is_near(request: JobRequest, origin: Origin | None, ctx: Context) -> tuple[JobSpec, bool]:
    """What the request means, and whether it is settled: most specs ask no other machine, so one turn in a thread does for all of it."""
    spec = asked(request, origin, ctx.db)
    return (settle(spec, ctx.settings), True) if _is_all_near(spec) else (spec, False)


def asked(request: JobRequest, origin: Origin | None, db: Database) -> JobSpec:
    """What the request begins with, with its changes. Raises Invalid."""
    try:
        if request.spec is not None:
            return whole(request.spec, db)
        base = origin.base if origin is not None else recipe_spec(request.recipe or "")
        return changed(base, request.set, db)
    except SpecError as error:
        raise Invalid(error.errors, "spec") from error


def whole(raw: Mapping[str, Any], db: Database) -> JobSpec:
    """A spec in full. Raises SpecError with every wrong field, a dataset's unknown name among them."""
    errors: list[FieldError] = []
    try:
        raw = with_dataset(raw, db)
    except SpecError as error:
        errors, raw = error.errors, {**raw, "data": {**raw["data"], "url": STAND_IN}}
    try:
        spec = parse_spec(raw)
    except SpecError as error:
        errors = [*errors, *error.errors]
    if errors:
        raise SpecError(errors)
    return spec


async def settled(spec: JobSpec, ctx: Context, errand: Errand) -> JobSpec:
    """The spec with absolute paths and its data's digest, if its data are there and fit. Raises Invalid, Unavailable."""
    if _is_all_near(spec):
        return await run_in_threadpool(settle, spec, ctx.settings)
    return await ctx.elsewhere.data.run(settle, spec, ctx.settings, errand=errand)


def _is_all_near(spec: JobSpec) -> bool:
    return all(_is_near(url) for url in (spec.data.url, spec.evaluation.extractor))


def _is_near(url: str) -> bool:
    """Whether no other machine need be asked about it, not even a name server."""
    return url.partition(":")[0].lower() in ("file", "builtin") or ":" not in url


def settle(spec: JobSpec, settings: Settings) -> JobSpec:
    """As :func:`settled`; may take as long as the data's server does. Raises Invalid."""
    spec = _on_the_nodes(spec, settings.data_roots)
    others = [*_check_extractor(spec, settings), *check_publish(spec, settings)]
    manifest, errors = _check_data(spec, settings, others)
    if errors := [*errors, *others]:
        raise Invalid(errors, "spec")
    if manifest is None or spec.data.digest is not None:
        return spec
    return spec.replace(data=spec.data.replace(digest=manifest.digest))


def changed(base: JobSpec, changes: Mapping[str, JsonValue], db: Database) -> JobSpec:
    """The spec with some fields set by path or nested mapping. Raises SpecError with every wrong one."""
    values, errors = by_path(changes, base)
    if isinstance(url := values.get("data.url"), str):
        digest = None  # other data have another one
        if url.startswith(DATASET):
            try:
                found = _dataset(url, db)
                url, digest = found.url, found.manifest["digest"]
            except SpecError as error:
                errors += error.errors
                url = STAND_IN
        values = {"data.digest": digest, **values, "data.url": url}
    return with_values(base, values.items(), errors)


def by_path(
    values: Mapping[str, JsonValue], spec: JobSpec | SearchSpec
) -> tuple[dict[str, JsonValue], list[FieldError]]:
    """Nested mappings as dotted paths: `{"train": {"images": 1}}` changes one field and keeps the rest of `train`.

    The second value: what can't be such a change.
    """
    found: dict[str, JsonValue] = {}
    errors: list[FieldError] = []
    if sum(len(value) for _, value in _leaves(values) if isinstance(value, str)) > MAX_TEXTS:
        return {}, [
            FieldError(path="set", message=f"has more than {MAX_TEXTS:,} characters", fix="send the whole spec")
        ]
    for path, value in _leaves(values):
        if len(found) == MAX_SET:
            fix = f"set at most {MAX_SET}, or send the whole spec"
            return {}, [FieldError(path="set", message="has too many fields", fix=fix)]
        if path in found:
            errors.append(FieldError(path=path[:MAX_PATH], message="is set twice", fix="set it once"))
        elif "=" in path or len(path) > MAX_PATH:
            errors.append(FieldError(path=path[:MAX_PATH], message="is no path", fix="write e.g. train.images"))
        elif isinstance(value, str) and len(value) > MAX_TEXT:
            errors.append(FieldError(path=path, message="is too long", value=short(value), fix="send the whole spec"))
        elif value != {} or _is_null(spec, path):  # an empty mapping makes a section that is null, and changes no other
            found[path] = value
    return found, errors


def _leaves(values: Mapping[str, JsonValue], section: str = "") -> Iterator[tuple[str, JsonValue]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{section}{name}.")
        else:
            yield f"{section}{name}", value


def _is_null(spec: JobSpec | SearchSpec, path: str) -> bool:
    """Whether nothing lies at the path."""
    node: Any = spec.model_dump(mode="json")
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node is None


def with_dataset(raw: Mapping[str, Any], db: Database) -> dict[str, Any]:
    """`data.url: dataset:NAME` becomes the registered URL and, unless one is given, the registered digest."""
    data = raw.get("data")
    url = data.get("url") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(url, str) or not url.startswith(DATASET):
        return dict(raw)
    found = _dataset(url, db)
    return {**raw, "data": {**data, "url": found.url, "digest": data.get("digest") or found.manifest["digest"]}}


def _dataset(url: str, db: Database) -> Dataset:
    found = datasets.find(db, url.removeprefix(DATASET))
    if found is None:
        fix = "register it with POST /v1/datasets, or give its URL"
        raise SpecError([FieldError(path="data.url", message="no such dataset", value=json.dumps(url), fix=fix)])
    return found


def _on_the_nodes(spec: JobSpec, roots: Sequence[str]) -> JobSpec:
    """A relative path is meant below a data root; workers run elsewhere, so it becomes absolute."""
    if (url := absolute(spec.data.url, roots)) == spec.data.url:
        return spec
    raw = spec.model_dump(mode="json")
    return parse_spec({**raw, "data": {**raw["data"], "url": url}})


def _check_data(
    spec: JobSpec, settings: Settings, others: Sequence[FieldError]
) -> tuple[DatasetManifest | None, list[FieldError]]:
    """The manifest, if there is one that can be read, and what of the spec doesn't fit it.

    Raises Unavailable if whoever has the data is away: then nothing is known to be wrong with the spec, but for `others`.
    """
    if spec.data.url.startswith("builtin:"):
        return None, []
    try:
        manifest = read_manifest(spec.data.url, settings.access, settings.patience)
    except (BadDataError, DataAwayError) as error:
        message = str(error).removeprefix(f"data.url {spec.data.url!r}: ")
        wrong = [FieldError(path="data.url", message=message, value=json.dumps(spec.data.url))]
        if isinstance(error, DataAwayError) and not others:
            raise Unavailable(f"data.url: {message}", wrong) from error
        return None, wrong
    return manifest, mismatches(manifest, spec)


def check_publish(spec: JobSpec, settings: Settings) -> list[FieldError]:
    """Training for hours and only then finding no registry helps nobody."""
    if spec.publish is None or settings.mlflow_uri is not None:
        return []
    fix = "leave publish out, or start the API with AGON_MLFLOW_URI"
    return [FieldError(path="publish", message="this API has no model registry", fix=fix)]


def _check_extractor(spec: JobSpec, settings: Settings) -> list[FieldError]:
    """A feature extractor is a program: from the local disk it may only come out of the data roots, and like data from no
    host that may not be asked. The job checks it again."""
    source = spec.evaluation.extractor
    if source == "classifier":
        return []
    try:
        location, _ = locate_file(source, settings.access, EXTRACTOR)
        check_reach(location, settings.data_seconds)
    except BadDataError as error:
        message = str(error).removeprefix(f"{EXTRACTOR} {source!r}: ")
        return [FieldError(path=EXTRACTOR, message=message, value=json.dumps(source))]
    return []
