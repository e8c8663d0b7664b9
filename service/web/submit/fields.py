"""A form made of the schema of JobSpec: a field for each value of a spec, with the schema's own words.

What a field says is sent as text, which REST reads as YAML wherever the value isn't text; so the form needs no types of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.spec import JobSpec

FIRST = (
    "name", "data.url", "arch.resolution", "arch.channels", "arch.classes", "train.images", "train.batch",
    "optimizers.G.lr", "optimizers.D.lr", "resources.workers", "resources.gpus_per_worker", "publish.model",
)  # fmt: skip
"""What one looks at first."""
SILENT = frozenset({"spec_version"})


@dataclass(frozen=True)
class Input:
    """One field."""

    path: str
    was: str
    """What it is without a change."""
    value: str
    help: str = ""
    kind: str = "text"
    """`text`, `number`, `choice`, `yaml` (a list or a mapping) or `long` (text of several lines)."""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    whole: bool = False
    optional: bool = False
    """Whether empty stands for null."""


@dataclass(frozen=True)
class Section:
    """One section of a spec, and of those below it."""

    path: str
    help: str
    inputs: tuple[Input, ...]


def sections(spec: Mapping[str, Any], values: Mapping[str, str]) -> list[Section]:
    """All sections of a spec as JSON has it; the one without a path comes first. values: texts that are set already, by path."""
    schema = JobSpec.model_json_schema()
    return list(_sections(schema, schema["$defs"], "", spec, values))


def first(found: list[Section]) -> list[Input]:
    """The fields that are looked at first, in their order."""
    known = {one.path: one for section in found for one in section.inputs}
    return [known[path] for path in FIRST if path in known]


def _sections(
    node: Mapping[str, Any], defs: Mapping[str, Any], path: str, value: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[Section]:
    inputs: list[Input] = []
    below: list[Section] = []
    for name, found in node["properties"].items():
        here = f"{path}.{name}" if path else name
        if here in SILENT:
            continue
        options, optional = _options(found, defs)
        one = _chosen(options, value.get(name, found.get("default")))
        help = _words(found.get("description") or one.get("description", ""))
        if "properties" in one:
            inner = value.get(name) or {}
            below += _sections({**one, "description": help}, defs, here, inner, values)
        elif name == "optimizers":
            for player, settings in value[name].items():
                of = _chosen(_options(one["additionalProperties"], defs)[0], settings)
                below += _sections(
                    {**of, "description": f"Of {player}. {help}"}, defs, f"{here}.{player}", settings, values
                )
        elif len(options) == 1 and "const" in one:
            continue
        else:
            was = _text(value.get(name, found.get("default")))
            inputs.append(_input(here, was, values.get(here, was), help, one, optional=optional))
    yield Section(path, _words(node.get("description", "")), tuple(inputs))
    yield from below


def _options(node: Mapping[str, Any], defs: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], bool]:
    """What it may be, and whether it may be null."""
    parts = node.get("anyOf") or node.get("oneOf") or [node]
    found = [
        {**defs[part["$ref"].rpartition("/")[2]], **_without_ref(part)} if "$ref" in part else part for part in parts
    ]
    known = [part for part in found if part.get("type") != "null"]
    return known, len(known) < len(found)


def _without_ref(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in ("$ref", "default", "description")}


def _chosen(options: list[Mapping[str, Any]], value: Any) -> Mapping[str, Any]:
    """The one that a value is of: by its family or kind where several have fields."""
    told = {value.get("family"), value.get("kind")} if isinstance(value, Mapping) else set()
    for option in options:
        tags = [option.get("properties", {}).get(tag, {}).get("const") for tag in ("family", "kind")]
        if told & {tag for tag in tags if tag}:
            return option
    return options[0] if len(options) == 1 else {"type": "any", "description": options[0].get("description", "")}


def _input(path: str, was: str, value: str, help: str, node: Mapping[str, Any], *, optional: bool) -> Input:
    kind, choices = str(node.get("type", "any")), tuple(_text(choice) for choice in node.get("enum", ()))
    if kind == "boolean":
        kind, choices = "choice", ("true", "false")
    if choices:
        return Input(path, was, value, help, "choice", choices, optional=optional)
    if kind in ("integer", "number"):
        least, most = (
            node.get("minimum", node.get("exclusiveMinimum")),
            node.get("maximum", node.get("exclusiveMaximum")),
        )
        return Input(path, was, value, help, "number", (), least, most, kind == "integer", optional)
    if kind == "string":
        return Input(path, was, value, help, "long" if path == "notes" else "text", optional=optional)
    return Input(path, was, value, help, "yaml", optional=optional)


def _text(value: Any) -> str:
    """As the field has it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _words(text: str) -> str:
    return " ".join(text.replace("`", "").split())
