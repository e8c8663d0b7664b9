"""The search itself: its fields, that they fit together, and how it is read from a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import ValidationError, model_validator

from trainer.families.table import recipes
from trainer.search.checks import problems
from trainer.search.fields import Algorithm, SearchFields
from trainer.search.space import combinations
from trainer.spec import FieldError, SpecError, digest_of, explain, with_values
from trainer.spec.errors import refuse, short
from trainer.spec.overrides import assign
from trainer.spec.sections import HIGHER_IS_BETTER
from trainer.spec.text import read_yaml

ALGORITHMS: tuple[str, ...] = get_args(Algorithm)


class SearchSpec(SearchFields):
    """Everything one search is. Two searches with equal specs draw equal trials, as long as scores don't steer the draws."""

    @model_validator(mode="after")
    def _consistent(self) -> SearchSpec:
        if found := list(problems(self)):
            refuse(found)
        count = self.combinations
        if count is not None and self.algorithm != "pbt":
            whole = self.algorithm == "grid" and "trials" not in self.model_fields_set
            object.__setattr__(self, "trials", count if whole else min(self.trials, count))
            self.model_fields_set.add("trials")
        return self

    def digest(self) -> str:
        """SHA-256 of the resolved search as canonical JSON, in hex."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def combinations(self) -> int | None:
        """How many different draws the space has; None if it isn't finite, or has more than any search takes."""
        return combinations(self.base, self.space)

    @property
    def extent(self) -> str:
        """How much of the space is searched, for a person: `3 trials, all combinations`."""
        count, trials = self.combinations, f"{self.trials} trial{'s' if self.trials != 1 else ''}"
        if count is None or self.algorithm == "pbt":
            return trials
        if self.trials == count:
            return f"{trials}, {'all combinations' if count > 1 else 'the only combination'}"
        left = count - self.trials
        which = "the last" if self.algorithm == "grid" else "by chance"
        return f"{trials} of {count:,} combinations; {which} {left:,} {'is' if left == 1 else 'are'} left out (trials: {count} takes all)"

    @property
    def minimises(self) -> bool:
        """Whether a low metric is good."""
        return self.mode == "min" if self.mode else self.metric not in HIGHER_IS_BETTER

    @property
    def scheduler(self) -> Literal["none", "asha", "pbt"]:
        """Who stops or changes trials while they train."""
        return "pbt" if self.algorithm == "pbt" else "asha" if self.algorithm.startswith("asha") else "none"

    @property
    def sampler(self) -> Literal["random", "grid", "tpe"]:
        """Who draws the values."""
        if self.algorithm == "grid":
            return "grid"
        return "tpe" if self.algorithm.endswith("optuna") else "random"


def parse_search(raw: object) -> SearchSpec:
    """Validate a raw mapping; `base` may be `{recipe: NAME, set: {path: value}}`. Raises SpecError that lists every wrong field."""
    if isinstance(raw, dict) and isinstance(raw.get("base"), dict) and "recipe" in raw["base"]:
        raw = {**raw, "base": _from_recipe(raw["base"])}
    elif isinstance(raw, dict) and isinstance(raw.get("base"), str):
        raw = {**raw, "base": _from_recipe({"recipe": raw["base"]})}
    try:
        return SearchSpec.model_validate(raw)
    except ValidationError as error:
        found = explain(error, SearchSpec)
        known = {wrong.path for wrong in found}
        raise SpecError([*found, *(wrong for wrong in _beside(raw) if wrong.path not in known)]) from error


def with_search_values(
    search: SearchSpec, values: Iterable[tuple[str, Any]], errors: Iterable[FieldError] = ()
) -> SearchSpec:
    """A copy with values at dotted paths (`labels.team`, `base.resources.workers`), as `with_values` does for a job.

    Raises SpecError that names every unknown path and every wrong field of the result, after `errors` that are known before.
    """
    raw = search.model_dump(mode="json")
    found = [*errors, *assign(raw, values, SearchFields)]
    try:
        result = parse_search(raw)
    except SpecError as error:
        found += error.errors
    if found:
        raise SpecError(found)
    return result


def _beside(raw: object) -> list[FieldError]:
    """What else is wrong with a search of which some field is: paths of the space and the metric, if the base is a spec."""
    try:
        given = {name: value for name, value in dict(raw).items() if name in ("base", "space", "metric")}  # type: ignore[call-overload]
        SearchSpec.model_validate(given)
    except ValidationError as error:
        return [found for found in explain(error, SearchSpec) if found.path.partition(".")[0] in ("space", "metric")]
    except (TypeError, ValueError):
        pass
    return []


def load_search(path: Path | str) -> SearchSpec:
    """Read a YAML or JSON file. Raises SpecError, or OSError if it can't be read."""
    try:
        raw = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError([FieldError(path="", message=f"{path} is not valid YAML: {error}")]) from error
    if not isinstance(raw, dict):
        raise SpecError([FieldError(path="", message=f"{path} holds no mapping", fix="it needs base and space")])
    return parse_search(raw)


def _from_recipe(given: dict[str, Any]) -> dict[str, Any]:
    """The recipe's spec with its changes. Raises SpecError with paths below `base`."""
    name, changes = given.get("recipe"), given.get("set", {})
    if unknown := given.keys() - {"recipe", "set"}:
        raise SpecError(
            [FieldError(path=f"base.{min(unknown)}", message="unknown field", fix="give recipe and set alone")]
        )
    make = recipes().get(str(name))
    if make is None:
        raise SpecError(
            [
                FieldError(
                    path="base.recipe",
                    message="no such recipe",
                    value=short(name),
                    fix=f"one of {', '.join(recipes())}",
                )
            ]
        )
    if not isinstance(changes, dict):
        raise SpecError([FieldError(path="base.set", message="is no mapping of path to value", value=short(changes))])
    try:
        spec = with_values(make(), changes.items())
    except SpecError as error:
        raise SpecError([found.model_copy(update={"path": f"base.{found.path}"}) for found in error.errors]) from error
    return spec.model_dump(mode="json")
