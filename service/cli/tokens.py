"""agon tokens: who may use the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from service.cli.groups import Group
from service.cli.output import ago, err, note, out, print_facts, print_json, print_table
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import NewToken

TokenId = Annotated[str, typer.Argument(metavar="TOKEN", help="Its id; `agon tokens` lists them.")]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="TIME", help="It ends after so long: 30d, 12h.", show_default="as the server says"
    ),
]


def list_(
    owner: Annotated[
        str | None,
        typer.Option(metavar="PERSON", help="Only this person's.", show_default="yours; administrators: all"),
    ] = None,
    json_: Json = False,
) -> None:
    """List your tokens, as an administrator all people's, oldest first, without their secrets.

    Examples:

    - `agon tokens`
    - `agon tokens --owner ada`
    - `agon tokens --json | jq '.[] | select(.scope == "admin")'`
    """
    from service.client import Client

    with Client() as client:
        found = client.tokens(owner)
    if json_:
        print_json([token.model_dump(mode="json") for token in found])
        return
    rows = [
        (
            token.id,
            token.name,
            token.owner,
            token.scope,
            ago(token.created_at),
            _end(token.expires_at),
            ago(token.used_at),
        )
        for token in found
    ]
    titles = ("token", "name", "owner", "scope", "made", "ends", "used")
    print_table(titles, rows, "no tokens; make one: agon tokens create NAME")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called, e.g. ada or ci@build.")],
    scope: Annotated[
        Literal["viewer", "user", "admin"],
        typer.Option(help="What it may do: see everything; also run and change what is its owner's; or all of it."),
    ] = "user",
    owner: Annotated[
        str | None,
        typer.Option(
            help="The person whose it is: what is submitted with it is theirs.",
            show_default="you; as an administrator: NAME",
        ),
    ] = None,
    expires: Expires = None,
    json_: Json = False,
) -> None:
    """Make a token: one of your own, or, as an administrator, anybody's. Its secret goes to stdout, this once: the server keeps only a hash.

    Its owner sets AGON_URL to the address of this API, and AGON_TOKEN to the secret.

    Examples:

    - `agon tokens create ada > ada.token`
    - `agon tokens create ada-laptop --owner ada --expires 90d`
    - `agon tokens create ci --scope admin --json`
    """
    from service.client import Client

    with Client() as client:
        found = client.create_token(name, scope=scope, owner=owner, expires_in=expires)
        _tell(found, client.url, json_)


def rotate(
    token: TokenId,
    overlap: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long the old secret works on; 0s: not at all.", show_default="1h"),
    ] = None,
    expires: Expires = None,
    json_: Json = False,
) -> None:
    """Give a token another secret, which goes to stdout this once. The old one works on for a while, so that nothing breaks meanwhile.

    Examples:

    - `agon tokens rotate t-0123456789ab > ada.token`
    - `agon tokens rotate t-0123456789ab --overlap 0s`
    """
    from service.client import Client

    with Client() as client:
        found = client.rotate_token(token, overlap=overlap, expires_in=expires)
        _tell(found, client.url, json_)


def revoke(token: TokenId) -> None:
    """Revoke a token. It stops working at once, and so does what was begun with it; jobs that were submitted with it go on.

    Examples:

    - `agon tokens revoke t-0123456789ab`
    """
    from service.client import Client

    with Client() as client:
        client.revoke_token(token)
    err.print(Text.assemble("token ", (token, "bold"), " is revoked"))


def me(json_: Json = False) -> None:
    """Show whose token AGON_TOKEN is, what it may do, and when it ends.

    Examples:

    - `agon tokens me`
    """
    from service.client import Client

    with Client() as client:
        found = client.me()
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    print_facts(
        [("owner", found.owner), (found.by, found.name), ("scope", found.scope), ("ends", _end(found.expires_at))]
    )


GROUP = Group(
    "tokens",
    """Tokens of the people who use the API: list, create, rotate, revoke; whose this one is. Your own, or, as an administrator, everyone's.

`agon tokens` is short for `agon tokens list`; the singular is the same word.
""",
    {"list": list_, "create": create, "rotate": rotate, "revoke": revoke, "me": me},
)


def _tell(found: NewToken, url: str, json_: bool) -> None:
    """The secret, this once."""
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    out.print(found.token)
    old = f"   the old one works until {_end(found.old_until)}" if found.old_until else ""
    note(f"shown this once; for AGON_TOKEN, with AGON_URL={url}{old}   revoke it: agon tokens revoke {found.id}")


def _end(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    return "over" if moment <= datetime.now(UTC) else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
