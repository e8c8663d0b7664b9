"""agon webhooks: where somebody is told of what happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer
from rich.text import Text

from service.cli.arguments import Etag, connect, labels_of, quoted
from service.cli.groups import Group, Most, most
from service.cli.hooked import condition, print_deliveries, print_secret, print_webhook
from service.cli.output import Exit, err, fail, note, out, print_json, print_table
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import Client, Delivery

Id = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id; `agon webhooks` lists them.")]
Outcomes = Literal["pending", "delivered", "failed"]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="TYPE", help="What it hears of: job.failed, 'search.*', '*'. Repeatable."),
]
RunLabels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Only of runs with this label. Repeatable: with all of them."),
]
Description = Annotated[str | None, typer.Option(help="For people.")]
TEST_SECONDS, LOOK_SECONDS = 40.0, 0.5


def list_(limit: Most = 50, json_: Json = False) -> None:
    """List your webhooks, oldest first; administrators see everybody's.

    Examples:

    - `agon webhooks`
    - `agon webhooks --json | jq '.[] | select(.enabled | not) | .reason'`
    """
    with connect() as client:
        found = most(client.webhooks, limit)
    if json_:
        print_json([hook.model_dump(mode="json") for hook in found])
        return
    rows = [(hook.id, hook.owner, condition(hook), ", ".join(hook.events), hook.url) for hook in found]
    print_table(("webhook", "owner", "is", "events", "url"), rows, "no webhooks; add one: agon webhooks add URL")


def show(webhook: Id, json_: Json = False) -> None:
    """Show one webhook, without its secret.

    Examples:

    - `agon webhooks w-0123456789ab` (the same as `agon webhooks show w-0123456789ab`)
    """
    with connect() as client:
        found = client.webhook(webhook)
    print_webhook(found, json_)


def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages are posted: https, on a public address.")],
    event: Events = None,
    runs_of: Annotated[
        str | None,
        typer.Option(
            metavar="PERSON", help="Whose runs; others', and '*' for all, for administrators.", show_default="yours"
        ),
    ] = None,
    label: RunLabels = None,
    description: Description = None,
    json_: Json = False,
) -> None:
    """Have what happens to runs posted to a URL. The secret that signs the messages goes to stdout, this once.

    Without --event it hears of all there is.

    Examples:

    - `agon webhooks add https://hooks.example.com/agon > agon.secret`
    - `agon webhooks add https://hooks.example.com/agon --event job.failed --event 'model.*' --label team=vision`
    """
    with connect() as client:
        found = client.add_webhook(
            url, event or ["*"], runs_of=runs_of, labels=labels_of(label), description=description or ""
        )
    print_secret(found, json_)


def edit(
    webhook: Id,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Where messages are posted.")] = None,
    event: Events = None,
    label: RunLabels = None,
    description: Description = None,
    enabled: Annotated[
        bool | None, typer.Option("--on/--off", help="Switch it on again, or off.", show_default="as it is")
    ] = None,
    if_match: Etag = None,
    json_: Json = False,
) -> None:
    """Change a webhook: what is given, in place of what was there.

    One that is switched on again hears of what happens from then on; `agon webhooks replay WEBHOOK --since TIME` sends what it
    missed.

    Examples:

    - `agon webhooks edit w-0123456789ab --event 'job.*'`
    - `agon webhooks edit w-0123456789ab --on`
    """
    with connect() as client:
        found = client.edit_webhook(
            webhook,
            url=url,
            events=event or None,
            labels=labels_of(label) if label else None,
            description=description,
            enabled=enabled,
            if_match=quoted(if_match),
        )
    print_webhook(found, json_)


def rotate(webhook: Id, json_: Json = False) -> None:
    """Give a webhook a new secret, which goes to stdout, this once. For 24 hours messages are signed with the old one, too.

    Examples:

    - `agon webhooks rotate w-0123456789ab > agon.secret`
    """
    with connect() as client:
        found = client.rotate_webhook(webhook)
    print_secret(found, json_)


def remove(webhook: Id, if_match: Etag = None) -> None:
    """Remove a webhook with its deliveries. Nothing more is sent.

    Examples:

    - `agon webhooks remove w-0123456789ab`
    """
    with connect() as client:
        client.remove_webhook(webhook, if_match=quoted(if_match))
    err.print(Text.assemble("webhook ", (webhook, "bold"), " is removed"))


def deliveries(
    webhook: Id,
    outcome: Annotated[
        Outcomes | None, typer.Option(metavar="OUTCOME", help=f"Only those: {', '.join(get_args(Outcomes))}.")
    ] = None,
    delivery: Annotated[
        str | None, typer.Option("--id", metavar="DELIVERY", help="One of them, with what it says.", show_default="all")
    ] = None,
    limit: Most = 50,
    json_: Json = False,
) -> None:
    """List what was sent to a webhook, or will be, newest first.

    Examples:

    - `agon webhooks deliveries w-0123456789ab --outcome failed`
    - `agon webhooks deliveries w-0123456789ab --id msg_j-0123456789ab_57 --json | jq .body`
    """
    with connect() as client:
        if delivery is not None:
            one = client.delivery(webhook, delivery)
            if json_:
                print_json(one.model_dump(mode="json"))
                return
            print_deliveries([one])
            out.print(Text(one.body))
            return
        found = most(lambda **paging: client.deliveries(webhook, outcome=outcome, **paging), limit)
    if json_:
        print_json([item.model_dump(mode="json") for item in found])
    else:
        print_deliveries(found)


def replay(
    webhook: Id,
    delivery: Annotated[
        str | None, typer.Argument(metavar="[DELIVERY]", help="One of them, whatever came of it.", show_default="none")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="All that happened from then on and has not arrived: 2026-11-01T00:00:00Z."),
    ] = None,
    delivered: Annotated[bool, typer.Option("--delivered", help="With --since: also what has arrived.")] = False,
    json_: Json = False,
) -> None:
    """Send again what was sent, with the same `webhook-id`: one delivery, or all from a moment on.

    With --since also what the webhook didn't hear of while it was switched off.

    Examples:

    - `agon webhooks replay w-0123456789ab msg_j-0123456789ab_57`
    - `agon webhooks replay w-0123456789ab --since 2026-11-01T00:00:00Z`
    """
    if (delivery is None) == (since is None):
        raise typer.BadParameter("give either a delivery or --since", param_hint="DELIVERY")
    with connect() as client:
        if delivery is not None:
            one = client.replay(webhook, delivery)
            print_json(one.model_dump(mode="json")) if json_ else note(f"{one.id} is sent again")
            return
        found = client.replay_since(webhook, since or "", delivered=delivered)
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        note(f"{found.again} deliveries are sent again, and what was not one yet: agon webhooks deliveries {webhook}")


def try_(webhook: Id, json_: Json = False) -> None:
    """Send a webhook a test, once, and say what came of it. Exit code 1 unless it arrived.

    Examples:

    - `agon webhooks test w-0123456789ab`
    """
    with connect() as client:
        found = _outcome(client, webhook, client.test_webhook(webhook))
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        print_deliveries([found])
    if found.outcome != "delivered":
        fail(found.error or "nobody has sent it yet; does the API run with AGON_WEBHOOKS=false?", Exit.FAILED)


GROUP = Group(
    "webhooks",
    """Where somebody is told of what happens to runs: list, add, test, rotate, replay.

`agon webhooks` is short for `agon webhooks list`, `agon webhooks WEBHOOK` for `agon webhooks show WEBHOOK`.
""",
    {
        "list": list_,
        "show": show,
        "add": add,
        "edit": edit,
        "rotate": rotate,
        "remove": remove,
        "deliveries": deliveries,
        "replay": replay,
        "test": try_,
    },
)


def _outcome(client: Client, webhook: str, sent: Delivery) -> Delivery:
    """What became of it, if that is known in time."""
    end = time.monotonic() + TEST_SECONDS
    while sent.outcome == "pending" and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        sent = client.delivery(webhook, sent.id)
    return sent
