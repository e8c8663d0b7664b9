"""docs/dependencies.md says why each declared package is there, and names no other."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN = "agon"


def declared(toml: str) -> dict[str, set[str]]:
    """Heading of the page → names of the packages; an extra of our own (`agon[postgres]`) is none."""
    project = tomllib.loads(toml)["project"]
    groups = {"Always": project["dependencies"]} | {
        f"Extra `{name}`": packages for name, packages in project["optional-dependencies"].items()
    }
    return {
        heading: {re.split(r"[\[<>=!~;\s]", item, maxsplit=1)[0] for item in items} - {OWN}
        for heading, items in groups.items()
    }


def explained(page: str) -> dict[str, set[str]]:
    """Heading of the page → names of the packages whose reason stands there."""
    sections = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    rows = {
        heading: re.findall(r"^\| `([\w-]+)` \| (.+) \|$", text, re.MULTILINE)
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }
    return {heading: {name for name, why in found if why.strip()} for heading, found in rows.items()}


def test_every_declared_package_has_a_reason_and_nothing_else_has_one() -> None:
    scripts = json.loads((ROOT / "service/web/package.json").read_text())["dependencies"]
    known = declared((ROOT / "pyproject.toml").read_text()) | {"JavaScript of the page": set(scripts)}
    assert explained((ROOT / "docs" / "dependencies.md").read_text()) == known


def test_a_package_without_a_reason_and_a_reason_without_a_package_are_seen() -> None:
    toml = "[project]\ndependencies = ['one>=1']\n[project.optional-dependencies]\nx = ['two[y]<3', 'agon[z]']\n"
    page = "## Always\n\n| `one` | is needed |\n\n## Extra `x`\n\n| `two` | is, too |\n"
    assert explained(page) == declared(toml)
    for other in (page.replace("is, too", " "), page + "| `three` | is not |\n", page.replace("one", "two")):
        assert explained(other) != declared(toml)
