"""A search's FILE and --set, and names of searches and trials, as the verbs take them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from service.cli.source import Source, read_mapping, take, unknown_recipe
from trainer.families.table import recipes
from trainer.search import SearchSpec, parse_search
from trainer.spec import FieldError, JobSpec, SpecError
from trainer.spec.text import read_yaml

if TYPE_CHECKING:
    from service.client import Client, Search

BASE, SPACE = "base", "space"
SEARCH_OF_RECIPE = "start from `agon search init {name} > search.yaml`"


@dataclass(frozen=True)
class SearchSource:
    """A search that is valid as far as can be told without the API."""

    search: SearchSpec
    base: Source

    def body(self) -> dict[str, Any]:
        """As the API takes it."""
        return {**self.search.model_dump(mode="json"), BASE: self.base.body()}


def read(source: str, assignments: Sequence[str] = (), verbs: Sequence[str] = ()) -> SearchSource:
    """A YAML or JSON file with `path=value` assignments. Raises SpecError, or OSError for a file that can't be read.

    Paths are the search's: `trials=8`, `asha.grace=0.25`, `base.train.images=5000`, `space.optimizers.G.lr=[1e-4, 1e-3]`.
    verbs: what may have been meant if there is no such file.
    """
    raw = _file(source, verbs)
    of_base: list[str] = []
    errors: list[FieldError] = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        try:
            if not equals or not path:
                errors.append(FieldError(path=assignment, message="is no assignment", fix="write path=value"))
            elif path.startswith(f"{BASE}."):
                of_base.append(assignment.removeprefix(f"{BASE}."))
            else:
                raw = _assigned(raw, path, _value(text, path))
        except SpecError as error:
            errors += error.errors
    return _checked(raw, of_base, errors)


def _checked(raw: Mapping[str, Any], of_base: Sequence[str], errors: list[FieldError]) -> SearchSource:
    """Raises SpecError with these errors and every other one: of the base, and of what is said of it."""
    base = search = None
    try:
        base = _base(raw.get(BASE), of_base)
    except SpecError as error:
        errors += [found.model_copy(update={"path": f"{BASE}.{found.path}".strip(".")}) for found in error.errors]
    try:
        search = parse_search({**raw, BASE: (base.spec if base else _stand_in()).model_dump(mode="json")})
    except SpecError as error:
        # Whether there is such a field, or score, the base says.
        known = [found for found in error.errors if base or found.path.partition(".")[0] not in (BASE, SPACE, "metric")]
        errors += known
    if errors or base is None or search is None:
        raise SpecError(errors)
    return SearchSource(search, base)


def _stand_in() -> JobSpec:
    """Some spec in place of a base that is none, so that the rest of the search can be checked."""
    return next(iter(recipes().values()))()


def find(client: Client, text: str) -> Search:
    """A search by id, or the newest by name. Raises NotFound."""
    from service.client import Invalid, NotFound

    with suppress(NotFound, Invalid):  # it is no id, or not even like one
        return client.get_search(text)
    with suppress(Invalid):
        if named := client.searches(name=text, limit=1).items:
            return named[0]
    raise NotFound(404, "Not found", f"no search {text!r}; agon search list lists them", [])


def trial_of(client: Client, text: str) -> str:
    """`SEARCH/TRIAL` with the search's id for its name, and `t-00003` for `3`. Raises SpecError, NotFound."""
    search, slash, trial = text.partition("/")
    if not slash or not trial:
        fix = "write SEARCH/TRIAL, e.g. s-0123456789ab/t-00003; `agon search trials SEARCH` lists them"
        raise SpecError([FieldError(path="--from-trial", message="names no trial", value=text, fix=fix)])
    return f"{find(client, search).id}/{trial_id(trial)}"


def trial_id(text: str) -> str:
    """`t-00003`, however it is written: `3`, `t-3`."""
    number = text.removeprefix("t-")
    return f"t-{int(number):05d}" if number.isascii() and number.isdecimal() and len(number) < 10 else text


def set_of(assignments: Sequence[str]) -> dict[str, Any]:
    """`path=value` words as the API's `set`, which reads strings as the command line does. Raises SpecError."""
    found: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise SpecError([FieldError(path=assignment, message="is no assignment", fix="write path=value")])
        found[path] = text
    return found


def _file(source: str, verbs: Sequence[str]) -> dict[str, Any]:
    if Path(source).exists():
        return read_mapping(source)
    if source in recipes():
        fix = SEARCH_OF_RECIPE.format(name=source)
        raise SpecError([FieldError(path=source, message="is a recipe, and a search needs a file", fix=fix)])
    close = get_close_matches(source, verbs, 1, 0.6)
    fix = f"did you mean `agon search {close[0]}`?" if close else SEARCH_OF_RECIPE.format(name="RECIPE")
    raise SpecError([FieldError(path=source, message="there is no such file", fix=fix)])


def _value(text: str, path: str) -> Any:
    try:
        return read_yaml(text)
    except yaml.YAMLError as error:
        raise SpecError([FieldError(path=path, message="is not valid YAML", value=text)]) from error


def _assigned(raw: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at the path. Behind `space.` the rest is one name: paths of the space hold dots themselves."""
    head, dot, rest = path.partition(".")
    if not dot:
        return {**raw, head: value}
    inner = raw.get(head)
    section: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
    return {**raw, head: {**section, rest: value} if head == SPACE else _assigned(section, rest, value)}


def _base(given: Any, assignments: Sequence[str]) -> Source:
    """The base: a recipe's name, `{recipe, set}`, or a whole spec. Raises SpecError with paths of the spec."""
    given = {"recipe": given} if isinstance(given, str) else given
    if not isinstance(given, dict):
        raise SpecError([FieldError(path="", message="is missing", fix="give recipe and set, or a whole spec")])
    if "recipe" not in given:
        return take(given, assignments)
    name, changes = str(given["recipe"]), given.get("set") or {}
    if unknown := given.keys() - {"recipe", "set"}:
        raise SpecError([FieldError(path=str(min(unknown)), message="unknown field", fix="give recipe and set alone")])
    if name not in recipes():
        (error,) = unknown_recipe(name).errors
        raise SpecError(
            [error.model_copy(update={"path": "recipe", "message": "there is no such recipe", "value": name})]
        )
    if not isinstance(changes, dict):
        raise SpecError([FieldError(path="set", message="is no mapping of path to value")])
    return take(recipes()[name](), [*_assignments(changes), *assignments])


def _assignments(changes: Mapping[str, Any], section: str = "") -> Iterator[str]:
    """Nested mappings as dotted paths, as the API reads them."""
    for name, value in changes.items():
        if isinstance(value, dict) and value:
            yield from _assignments(value, f"{section}{name}.")
        else:
            yield f"{section}{name}={value if isinstance(value, str) else json.dumps(value)}"
