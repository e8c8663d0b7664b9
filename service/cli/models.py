"""agon models: what is registered, its versions with their scores, and their aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.groups import Group, Most, most
from service.cli.output import ago, err, out, print_json, print_table
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import ModelVersion

SCORE = "agon.score."
"""What tags of a version that are scores begin with."""
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a registered model.")]


def list_(limit: Most = 50, json_: Json = False) -> None:
    """List the registered models with their aliases, by name.

    Examples:

    - `agon models`
    - `agon models --json | jq '.[].name'`
    """
    from service.client import Client

    with Client() as client:
        found = most(client.models, limit)
    if json_:
        print_json([model.model_dump(mode="json") for model in found])
        return
    rows = [(model.name, _aliases(model.aliases), ago(model.updated_at), model.description) for model in found]
    empty = "no models; a job registers one: agon submit dcgan-digits --set publish.model=NAME"
    print_table(("model", "aliases", "updated", "description"), rows, empty)


def show(name: Name, limit: Most = 50, json_: Json = False) -> None:
    """Show a model's versions, newest first: aliases, scores, and the job that trained each.

    Examples:

    - `agon models digits` (the same as `agon models show digits`)
    - `agon models digits --json | jq '.[0].tags'` (its verdict, provenance and all else that is recorded)
    """
    from service.client import Client

    with Client() as client:
        found = most(client.model_versions, limit, name)
    if json_:
        print_json([version.model_dump(mode="json") for version in found])
        return
    rows = [
        (item.version, ", ".join(item.aliases), _scores(item), item.tags.get("agon.job_id", ""), _state(item))
        for item in found
    ]
    print_table(("version", "aliases", "scores", "job", "registered"), rows, f"{name} has no versions")


def alias(
    name: Name,
    alias_: Annotated[str, typer.Argument(metavar="ALIAS", help="A new one, or one that moves: champion, best-faces.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version that it shall mean, a number.")],
    json_: Json = False,
) -> None:
    """Let an alias mean a version. Whoever pulls or serves NAME@ALIAS gets that version from then on.

    Jobs move `champion` by themselves, to a version that scores better; this moves it whatever the scores are.

    Examples:

    - `agon models alias digits champion 3`
    - `agon models alias digits best-faces 7`
    """
    from service.client import Client

    with Client() as client:
        found = client.set_alias(name, alias_, version)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    out.print(f"models:/{name}@{alias_}")
    err.print(f"it is version {version} now", style="dim")


GROUP = Group(
    "models",
    """Registered models: list, versions with aliases and scores, alias.

`agon models` is short for `agon models list`, `agon models NAME` for `agon models show NAME`. `agon pull` downloads one,
`agon sample` draws from one, `agon report` tells all about one.
""",
    {"list": list_, "show": show, "alias": alias},
)


def _aliases(aliases: dict[str, str]) -> str:
    """`champion → 3`."""
    return ", ".join(f"{name} → {version}" for name, version in sorted(aliases.items()))


def _scores(version: ModelVersion) -> str:
    """`fid 12.3, kid 0.004`."""
    found = {tag.removeprefix(SCORE): text for tag, text in sorted(version.tags.items()) if tag.startswith(SCORE)}
    return ", ".join(f"{name} {_short(text)}" for name, text in found.items())


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def _state(version: ModelVersion) -> str:
    when = ago(version.created_at)
    return when if version.status == "READY" else f"{when} ({version.status})"
