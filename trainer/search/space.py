"""From drawn values to the spec of a trial: paths, types, conditions and draws. Pure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from trainer.search.distributions import Choice, Distribution, Drawn, LogUniform, QUniform, RandInt
from trainer.search.fields import SearchFields
from trainer.spec import JobSpec, with_values
from trainer.spec.paths import Kinds, descend, fields, models, tagged

if TYPE_CHECKING:
    import numpy as np

Values = dict[str, JsonValue]
Space = Mapping[str, Distribution]
TAGS = ("family", "kind")
MOST_COMBINATIONS = 10_000
"""Of a space that is gone through: as many as a search may have trials."""


def at(raw: Any, path: str) -> Any:
    """What lies at a dotted path of a raw spec. Raises KeyError if nothing can lie there."""
    for part in path.split("."):
        if isinstance(raw, list) and part.isdecimal() and int(part) < len(raw):
            raw = raw[int(part)]
        elif isinstance(raw, dict) and part in raw:
            raw = raw[part]
        else:
            raise KeyError(path)
    return raw


def field_at(base: JobSpec, path: str) -> TypeAdapter[Any] | None:
    """What validates a value at the path of this spec; None where only the whole spec can tell (items of lists).

    Raises KeyError with the first part that leads nowhere.
    """
    raw: Any = base.model_dump(mode="json")
    kinds: Kinds = (JobSpec,)
    *parents, leaf = path.split(".")
    for part in parents:
        kinds, raw = _member(descend(kinds, part), raw, part)
        if not kinds:
            raise KeyError(part)
    if not descend(kinds, leaf):
        raise KeyError(leaf)
    field = fields(kinds).get(leaf)
    if field is None:
        return None
    annotation: Any = field.annotation
    for constraint in field.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation)


def _member(kinds: Kinds, raw: Any, part: str) -> tuple[Kinds, Any]:
    """One step down, to the member of a union that this spec has."""
    try:
        raw = at(raw, part)
    except KeyError:
        return kinds, None
    if len(models(kinds)) > 1 and isinstance(raw, dict):
        for tag in TAGS:
            if tag in raw:
                return tagged(kinds, tag, raw[tag]), raw
    return kinds, raw


def extremes(distribution: Distribution) -> tuple[JsonValue, ...]:
    """The values whose types and bounds speak for all."""
    if isinstance(distribution, Choice):
        return distribution.values
    return (distribution.low, distribution.high)


def wrong(adapter: TypeAdapter[Any], value: JsonValue) -> str | None:
    """Why the field doesn't take the value; None if it does."""
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    return None


def active(base: JobSpec, space: Space, values: Mapping[str, JsonValue]) -> Values:
    """The values whose condition holds, in the space's order. A condition on a field that is itself left out is about the base."""
    return active_in(base.model_dump(mode="json"), space, values)


def active_in(raw: Any, space: Space, values: Mapping[str, JsonValue]) -> Values:
    """As `active`, of a base that is dumped already."""
    known: dict[str, bool] = {}

    def holds(path: str) -> bool:
        if path not in known:
            known[path] = all(matches(value_of(other), wanted) for other, wanted in space[path].when.items())
        return known[path]

    def value_of(path: str) -> Any:
        if path in space and path in values and holds(path):
            return values[path]
        return at(raw, path)

    return {path: values[path] for path in space if path in values and holds(path)}


def matches(value: Any, wanted: Any) -> bool:
    """Whether a condition holds: equal, or one of a list."""
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)


def applied(base: JobSpec, space: Space, values: Mapping[str, JsonValue]) -> JobSpec:
    """The base with the values at their paths. Raises SpecError if the result is no valid spec."""
    return with_values(base, [(place, value) for path, value in values.items() for place in (path, *space[path].also)])


def trial_spec(search: SearchFields, values: Mapping[str, JsonValue], number: int) -> JobSpec:
    """What the trial trains: the base with the values, evaluated evenly, a checkpoint at each evaluation, registering nothing.

    A collapse ends it (a roll back would spend the other trials' time). Raises SpecError if the values don't make a valid spec.
    """
    spec = applied(search.base, search.space, values)
    every = spec.evaluation.every_steps or max(1, math.ceil(steps(spec) / search.evaluations))
    sentinel = spec.sentinel
    if sentinel is not None and sentinel.policy == "rollback":
        sentinel = sentinel.replace(policy="stop")
    return spec.replace(
        name=f"{search.name}-{number:05d}",
        evaluation=spec.evaluation.replace(every_steps=every, truncations=()),
        checkpoint=spec.checkpoint.replace(every_steps=every, keep_last=max(2, spec.checkpoint.keep_last)),
        resources=spec.resources.replace(min_workers=None),
        sentinel=sentinel,
        publish=None,
    )


def steps(spec: JobSpec) -> int:
    """About how many updates of the generator the training takes."""
    return max(1, math.ceil(spec.train.images / (spec.train.batch * spec.objective.d_steps)))


def draw(distribution: Distribution, random: np.random.Generator) -> JsonValue:
    """One value."""
    if isinstance(distribution, Choice):
        return distribution.values[int(random.integers(len(distribution.values)))]
    if isinstance(distribution, RandInt):
        if distribution.log:
            return int(math.exp(random.uniform(math.log(distribution.low), math.log(distribution.high + 1))))
        return int(random.integers(distribution.low, distribution.high + 1))
    if isinstance(distribution, QUniform):
        return distribution.values()[int(random.integers(len(distribution.values())))]
    if isinstance(distribution, LogUniform):
        return math.exp(random.uniform(math.log(distribution.low), math.log(distribution.high)))
    return random.uniform(distribution.low, distribution.high)


def draw_values(base: JobSpec, space: Space, random: np.random.Generator) -> Values:
    """Values for all active fields."""
    return active(base, space, {path: draw(distribution, random) for path, distribution in space.items()})


def discrete(distribution: Drawn) -> list[JsonValue] | None:
    """All values, in order; None if they can't be counted."""
    if isinstance(distribution, Choice):
        return list(distribution.values)
    if isinstance(distribution, QUniform):
        return list(distribution.values())
    if isinstance(distribution, RandInt):
        return list(range(distribution.low, distribution.high + 1))
    return None


def size(distribution: Drawn) -> int | None:
    """How many values there are, without making them; None if they can't be counted."""
    if isinstance(distribution, RandInt):
        return distribution.high - distribution.low + 1
    values = discrete(distribution)
    return None if values is None else len(values)


def grid(base: JobSpec, space: Space) -> Iterator[Values]:
    """All combinations, the last field fastest; those that differ in inactive fields alone come once."""
    raw = base.model_dump(mode="json")
    columns = [discrete(distribution) or [] for distribution in space.values()]
    seen: set[str] = set()
    for row in itertools.product(*columns):
        values = active_in(raw, space, dict(zip(space, row, strict=True)))
        if (written := key(values)) not in seen:
            seen.add(written)
            yield values


def key(values: Mapping[str, JsonValue]) -> str:
    """One text for equal draws."""
    return json.dumps(values, sort_keys=True)


def product(space: Space) -> int | None:
    """Rows of the whole table of values, also those that differ in inactive fields alone; None if they can't be counted."""
    rows = 1
    for distribution in space.values():
        if (count := size(distribution)) is None:
            return None
        rows *= count
    return rows


def combinations(base: JobSpec, space: Space) -> int | None:
    """How many different draws there are; None if they can't be counted, or the table has more than MOST_COMBINATIONS rows."""
    rows = product(space)
    if rows is None or rows > MOST_COMBINATIONS:
        return None
    if any(distribution.when for distribution in space.values()):
        return sum(1 for _ in grid(base, space))
    return math.prod(len({json.dumps(value) for value in discrete(item) or []}) for item in space.values())
