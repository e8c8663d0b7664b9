"""agon owners: what people have on the cluster, and what they may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from service.bodies.owners import Use
from service.cli.arguments import Etag, quoted
from service.cli.groups import Group
from service.cli.output import err, print_json, print_table
from service.cli.specs import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.client import Owner, Share

Name = Annotated[
    str, typer.Argument(metavar="OWNER", help="A person; '*' stands for all who have no caps of their own.")
]
Most = Annotated[int | None, typer.Option(min=0, show_default="as much as there is")]
WHAT = tuple(Use.model_fields)
TITLES = {"gpu_hours_week": "GPU-hours a week"}


def list_(json_: Json = False) -> None:
    """List everyone who has a token, runs, caps or a role: what they have, and of how much. For administrators.

    Examples:

    - `agon owners`
    - `agon owners --json | jq '.[] | select(.use.waiting > 10)'`
    """
    from service.client import Client

    with Client() as client:
        found = client.owners()
    if json_:
        print_json([owner.model_dump(mode="json") for owner in found])
    else:
        _print(found)


def show(
    name: Annotated[str, typer.Argument(metavar="OWNER", help="A person; me: whose token AGON_TOKEN is.")],
    json_: Json = False,
) -> None:
    """Show what an owner has and may have, and how much later their next run counts as submitted. Others than oneself are shown
    to administrators.

    Examples:

    - `agon owners me`
    - `agon owners ada`
    """
    from service.client import Client

    with Client() as client:
        found = client.owner(None if name == "me" else name)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    _print([found])
    if found.share:
        err.print(Text(shares(found.name, found.share)))


def role(
    name: Annotated[str, typer.Argument(metavar="OWNER", help="A person.")],
    role: Annotated[
        Literal["viewer", "user", "admin", "none"],
        typer.Argument(
            metavar="ROLE",
            help="viewer sees everything, user also changes what is theirs, admin everything; none: what each token says.",
        ),
    ],
    json_: Json = False,
) -> None:
    """Set the most that anything of a person's may do, at once: tokens, browser sessions, a proxy's sign-on. For administrators.

    Examples:

    - `agon owners role ada user`
    """
    from service.client import Client

    with Client() as client:
        found = client.set_role(name, None if role == "none" else role)
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        _print([found])


def cap(
    name: Name,
    running: Most = None,
    workers: Most = None,
    gpus: Most = None,
    gpu_hours_week: Annotated[
        float | None,
        typer.Option(min=0, show_default="as many as there are", help="Of the last seven days."),
    ] = None,
    waiting: Most = None,
    if_match: Etag = None,
    json_: Json = False,
) -> None:
    """Set what an owner may have at once, or use a week, in place of what was set before. For administrators.

    Runs that would be beyond it wait, and `agon show` says why; beyond --waiting they are refused when they are submitted. What
    is on the cluster already stays there.

    Examples:

    - `agon owners cap ada --running 4 --gpus 8 --gpu-hours-week 200`
    - `agon owners cap '*' --running 2 --waiting 20`
    """
    from service.client import Client

    with Client() as client:
        most = {
            "running": running, "workers": workers, "gpus": gpus, "gpu_hours_week": gpu_hours_week, "waiting": waiting,
        }  # fmt: skip
        found = client.cap(name, **most, if_match=quoted(if_match))
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        _print([found])


def uncap(name: Name, if_match: Etag = None) -> None:
    """Take an owner's caps away; those of '*' apply, if there are any. For administrators.

    Examples:

    - `agon owners uncap ada`
    """
    from service.client import Client

    with Client() as client:
        client.uncap(name, if_match=quoted(if_match))
    err.print(Text.assemble("", (name, "bold"), " has no caps of their own any more"))


GROUP = Group(
    "owners",
    """The people whose runs they are: what they have on the cluster, and what they may do and have at once.

`agon owners` is short for `agon owners list`, `agon owners NAME` for `agon owners show NAME`; `agon owners me` shows yourself.
""",
    {"list": list_, "show": show, "role": role, "cap": cap, "uncap": uncap},
)


def _print(owners: Sequence[Owner]) -> None:
    rows = [
        (owner.name, *(_of(owner, what) for what in WHAT), "own" if owner.own else "", owner.role or "")
        for owner in owners
    ]
    print_table(
        ("owner", *(TITLES.get(what, what) for what in WHAT), "caps", "role"),
        rows,
        "nobody has a token yet; make one: agon tokens create NAME",
    )


def shares(name: str, share: Share) -> str:
    """What they used and have in hand, and how much later their next run counts."""
    used = f"{name} has used {share.cpu_hours:.3g} CPU-hours and {share.gpu_hours:.3g} GPU-hours of late"
    load = f"{share.used_hours:.3g} hours of the whole cluster, and has {share.held_hours:.3g} more in hand"
    return f"{used}: {load}; what they submit now counts as submitted {share.delay_hours:.2g} hours later"


def _of(owner: Owner, what: str) -> str:
    """`3 of 4`; without a cap `3`."""
    has, most = getattr(owner.use, what), getattr(owner.caps, what)
    return f"{has:.4g}" if most is None else f"{has:.4g} of {most:g}"
