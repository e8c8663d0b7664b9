"""Writes docs/spec.md from the JSON schemas of JobSpec and SearchSpec: `python -m service.specs.doc`."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trainer.families.table import recipes
from trainer.search import SearchSpec
from trainer.spec import JobSpec

TARGET = Path(__file__).parents[2] / "docs" / "spec.md"
HEAD = """\
# Job spec, version {version}

Everything that a job is. Generated from the schema of `JobSpec` by `make docs`; don't edit it by hand.

A spec is YAML or JSON. Start from a recipe: `agon init dcgan-digits > job.yaml`, or override its fields where it is used:
`agon submit dcgan-digits --set train.batch=128 --set optimizers.G.lr=1e-4`. Unknown fields and impossible combinations are refused
with the field's path and the fix. The JSON schema itself is served by `GET /v1/schema`.
"""
ANY = "JsonValue"
"""Pydantic's name for what may be anything."""
SEARCH = """\
# Search spec, version {version}

A job spec with some of its fields replaced by distributions ([searches.md](searches.md) is the guide). Distributions are written
short, `{{loguniform: [1e-5, 1e-2]}}`, `{{randint: [1, 4]}}`, `{{quniform: [0, 1, 0.25]}}`, `[16, 32, 64]` for a choice; or in full, as below.
"""


def render() -> str:
    """The whole page."""
    schema = JobSpec.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    parts = [
        HEAD.format(version=schema["properties"]["spec_version"]["const"]),
        _recipes(),
        "## JobSpec\n",
        _table(schema, definitions),
    ]
    parts += _sections(schema, definitions, known=())
    search = SearchSpec.model_json_schema()
    parts += [SEARCH.format(version=search["properties"]["search_version"]["const"]), "## SearchSpec\n"]
    parts += [_table(search, search["$defs"])]
    parts += _sections(search, search["$defs"], known=("JobSpec", ANY, *definitions))
    return "\n".join(parts)


def _sections(schema: dict[str, Any], definitions: dict[str, Any], known: Collection[str]) -> list[str]:
    """What the schema is made of, without what the page has already."""
    parts: list[str] = []
    for name in _order(schema, definitions):
        if name not in known:
            parts += [f"## {name}\n", _summary(definitions[name]), _table(definitions[name], definitions)]
    return parts


def _recipes() -> str:
    rows = [f"| `{name}` | {(recipe.__doc__ or '').strip().splitlines()[0]} |" for name, recipe in recipes().items()]
    return "\n".join(["## Recipes\n", "| recipe | what it trains |", "|---|---|", *rows]) + "\n"


def _order(schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Definitions in the order in which a reader meets them."""
    found: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).removeprefix("#/$defs/")
            if name in definitions and name not in found:
                found.append(name)
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(schema["properties"])
    for name in found:  # grows while it is read: sections inside sections come behind
        visit(definitions[name].get("properties", {}))
    return found


def _summary(definition: dict[str, Any]) -> str:
    return " ".join(str(definition.get("description", "")).split()) + "\n"


def _table(definition: dict[str, Any], definitions: dict[str, Any]) -> str:
    required = set(definition.get("required", ()))
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in definition.get("properties", {}).items():
        default = "required" if name in required else _default(field)
        section = definitions.get(str(field.get("$ref", "")).removeprefix("#/$defs/"), {})
        meaning = " ".join(str(field.get("description") or section.get("description", "")).split())
        rows.append(f"| `{name}` | {_type(field)} | {default} | {_escape(meaning)} |")
    return "\n".join(rows) + "\n"


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "see there"
    text = json.dumps(field["default"])
    return "see there" if isinstance(field["default"], dict) else f"`{_escape(text)}`"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].removeprefix("#/$defs/")
        if name == ANY:
            return "any"
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(_type(option) for option in field[key])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    return _plain(field)


def _plain(field: dict[str, Any]) -> str:
    kind = field.get("type", "any")
    if kind == "array":
        return f"list of {_type(field.get('items', {}))}" if "items" in field else "list"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"mapping to {_type(field['additionalProperties'])}"
    bounds = [
        f"{sign} {field[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in field
    ]
    if "pattern" in field:
        bounds.append(f"`{_escape(field['pattern'])}`")
    return " ".join([str(kind), ", ".join(bounds)]).strip()


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Command line."""
    TARGET.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
