"""What can't be a search: paths that lead nowhere, values that a field doesn't take, conditions in circles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from trainer.search.fields import SearchFields
from trainer.search.space import (
    MOST_COMBINATIONS,
    at,
    draw_values,
    extremes,
    field_at,
    grid,
    product,
    size,
    trial_spec,
    wrong,
)
from trainer.spec import FieldError, SpecError
from trainer.spec.errors import short
from trainer.spec.explain import suggest

DRAWS = 64
"""Draws at submit, to see whether any is valid."""
ABOUT = ("name", "labels", "notes")
OURS = (
    *ABOUT,
    "publish",
    "checkpoint",
    "evaluation",
    "samples",
    "resources",
    "retry",
    "queue",
    "limits",
    "spec_version",
)
"""Sections that say how a trial is run or measured: varying them would compare what can't be compared."""
DATA = ("data.url", "data.digest")
"""What a trial is measured against."""
KEPT = ("arch", "data", "train")
"""Sections that a running training can't change: its state has their shape, and its data cursor their count."""


def problems(search: SearchFields) -> Iterator[FieldError]:
    """Everything wrong with a search whose fields are of the right types."""
    found = [*_paths(search), *_metric(search), *_conditions(search), *_limits(search)]
    yield from found
    if not found:
        algorithms = [*_algorithm(search)]
        yield from algorithms
        if not algorithms:
            yield from _draws(search)


def _paths(search: SearchFields) -> Iterator[FieldError]:
    taken: Counter[str] = Counter()
    for path, distribution in search.space.items():
        for index, place in enumerate((path, *distribution.also)):
            taken[place] += 1
            where = f"space.{path}" + (f".also.{index - 1}" if index else "")
            if place.split(".")[0] in OURS or place in DATA:
                fix = "set it in base; it says how a trial is run or measured, and trials are compared by that"
                yield FieldError(path=where, message="can't be searched over", value=short(place), fix=fix)
                continue
            try:
                adapter = field_at(search.base, place)
            except KeyError as error:
                yield FieldError(
                    path=where,
                    message=f"is no field of the base spec: nothing is called {error.args[0]!r} there",
                    value=short(place),
                    fix=_known(search, place),
                )
                continue
            if adapter is None:
                continue
            for value in extremes(distribution):
                if message := wrong(adapter, value):
                    yield FieldError(
                        path=where,
                        message=f"the field takes no such value: {message}",
                        value=short(value),
                        fix=f"change the range or the values of {path}",
                    )
    for place, count in taken.items():
        if count > 1:
            yield FieldError(
                path=f"space.{place}", message="gets two values", fix="name it once, as a path or under also"
            )


def _known(search: SearchFields, place: str) -> str:
    raw, parts = search.base.model_dump(mode="json"), place.split(".")
    for part in parts:
        if not isinstance(raw, dict) or part not in raw:
            return suggest(part, raw) if isinstance(raw, dict) else f"{place} goes on behind a plain value"
        raw = raw[part]
    return ""


def _metric(search: SearchFields) -> Iterator[FieldError]:
    known = search.base.evaluation.metrics
    if search.metric not in known:
        fix = f"one of {', '.join(known)}, or add it to base.evaluation.metrics"
        yield FieldError(path="metric", message="is not scored", value=short(search.metric), fix=fix)


def _limits(search: SearchFields) -> Iterator[FieldError]:
    """Those of the base: it is ambiguous whose they would be."""
    for name, value in search.base.limits:
        if value is not None:
            fix = f"set limits.{name} of the search"
            yield FieldError(
                path=f"base.limits.{name}", message="means nothing: a trial has no limits", value=short(value), fix=fix
            )


def _conditions(search: SearchFields) -> Iterator[FieldError]:
    raw = search.base.model_dump(mode="json")
    for path, distribution in search.space.items():
        for other in distribution.when:
            if other in search.space:
                continue
            try:
                at(raw, other)
            except KeyError:
                yield FieldError(
                    path=f"space.{path}.when",
                    message="names no field of the base spec",
                    value=short(other),
                    fix="name another path of the space, or a field of the base",
                )
    for path in search.space:
        if _circular(search, path):
            yield FieldError(
                path=f"space.{path}.when", message="depends on itself", fix="break the circle of conditions"
            )


def _circular(search: SearchFields, path: str) -> bool:
    """Whether the path's condition leads back to itself."""
    seen, ahead = set[str](), [path]
    while ahead:
        following = [other for other in search.space[ahead.pop()].when if other in search.space and other not in seen]
        seen.update(following)
        ahead += following
    return path in seen


def _algorithm(search: SearchFields) -> Iterator[FieldError]:
    if search.algorithm == "grid":
        for path, distribution in search.space.items():
            if size(distribution) is None:
                yield FieldError(
                    path=f"space.{path}",
                    message=f"{distribution.kind} has no countable values, which grid needs",
                    fix="use choice, randint or quniform, or algorithm: random",
                )
        if (rows := product(search.space)) is not None and rows > MOST_COMBINATIONS:
            yield FieldError(
                path="space",
                message=f"has {rows:,} combinations, and grid goes through at most {MOST_COMBINATIONS:,}",
                fix="take fewer values, or algorithm: random",
            )
    if search.algorithm == "pbt":
        if search.trials < 2:
            yield FieldError(
                path="trials",
                message="pbt needs a population",
                value=short(search.trials),
                fix="at least 2; 8 or more is usual",
            )
        for path, distribution in search.space.items():
            for place in (path, *distribution.also):
                if place.split(".")[0] in KEPT or place.endswith((".kind", ".family")) or place == "objective.loss":
                    yield FieldError(
                        path=f"space.{path}",
                        message="can't change while a trial trains, as pbt would",
                        value=short(place),
                        fix="search over rates, weights and momenta with pbt; use another algorithm for this field",
                    )
            if odd := [value for value in extremes(distribution) if type(value) not in (int, float)]:
                yield FieldError(
                    path=f"space.{path}",
                    message="pbt perturbs numbers, and this is none",
                    value=short(odd[0]),
                    fix="search over numbers with pbt; use another algorithm for this field",
                )
            if distribution.when:
                yield FieldError(
                    path=f"space.{path}.when",
                    message="pbt knows no conditions",
                    fix="leave when out, or use another algorithm",
                )


def _draws(search: SearchFields) -> Iterator[FieldError]:
    """A space of which no draw is valid."""
    from numpy.random import default_rng  # heavy, and whoever only reads a wire file draws nothing

    random = default_rng(search.seed)
    drawn = (
        grid(search.base, search.space)
        if search.algorithm == "grid"
        else (draw_values(search.base, search.space, random) for _ in range(DRAWS))
    )
    reasons: Counter[str] = Counter()
    for values in drawn:
        try:
            trial_spec(search, values, 0)
        except SpecError as error:
            reasons[error.errors[0].line()] += 1
        else:
            return
    (reason, count), *_ = reasons.most_common(1)
    yield FieldError(
        path="space",
        message=f"none of {sum(reasons.values())} draws is a valid spec; {count} of them because {reason}",
        fix="change the ranges or the base",
    )
