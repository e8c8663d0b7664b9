"""agon tokens: who may use the API."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.text import Text

from service.cli.groups import Group
from service.cli.output import ago, err, note, out, print_json, print_table
from service.cli.specs import Json


def list_(json_: Json = False) -> None:
    """List people's tokens, oldest first, without their secrets.

    Examples:

    - `agon tokens`
    - `agon tokens --json | jq '.[] | select(.scope == "admin")'`
    """
    from service.client import Client

    with Client() as client:
        found = client.tokens()
    if json_:
        print_json([token.model_dump(mode="json") for token in found])
        return
    rows = [(token.id, token.name, token.owner, token.scope, ago(token.created_at)) for token in found]
    print_table(("token", "name", "owner", "scope", "made"), rows, "no tokens; make one: agon tokens create NAME")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, e.g. ada or ci@build.")],
    scope: Annotated[
        Literal["user", "admin"], typer.Option(help="What it may do: use the API, or also make and revoke tokens.")
    ] = "user",
    owner: Annotated[
        str | None,
        typer.Option(help="The person whose it is: what is submitted with it is theirs.", show_default="NAME"),
    ] = None,
    json_: Json = False,
) -> None:
    """Make a token. Its secret goes to stdout, this once: the server keeps only a hash.

    Its owner sets AGON_URL to the address of this API, and AGON_TOKEN to the secret.

    Examples:

    - `agon tokens create ada > ada.token`
    - `agon tokens create ada-laptop --owner ada`
    - `agon tokens create ci --scope admin --json`
    """
    from service.client import Client

    with Client() as client:
        found = client.create_token(name, scope=scope, owner=owner)
        url = client.url
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    out.print(found.token)
    note(f"shown this once; for AGON_TOKEN, with AGON_URL={url}   revoke it: agon tokens revoke {found.id}")


def revoke(token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id; `agon tokens` lists them.")]) -> None:
    """Revoke a token. It stops working at once; jobs that were submitted with it go on.

    Examples:

    - `agon tokens revoke t-0123456789ab`
    """
    from service.client import Client

    with Client() as client:
        client.revoke_token(token)
    err.print(Text.assemble("token ", (token, "bold"), " is revoked"))


GROUP = Group(
    "tokens",
    """Tokens of the people who use the API, for administrators: list, create, revoke.

`agon tokens` is short for `agon tokens list`.
""",
    {"list": list_, "create": create, "revoke": revoke},
)
