"""agon audit: who changed what."""

from __future__ import annotations

import sys
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.cli.arguments import connect
from service.cli.output import ago, out, print_json, print_table
from service.cli.specs import Json
from trainer.plain import plain

if TYPE_CHECKING:
    from service.client import AuditEntry

Outcomes = Literal["done", "refused", "failed", "begun"]


def audit(
    actor: Annotated[str | None, typer.Option(metavar="PERSON", help="Only this person's.")] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Only what was done with this token, by id.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only this: job.pause, or job for all of that kind.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="ID", help="Only what was done to this, by id or name.")] = None,
    outcome: Annotated[Outcomes | None, typer.Option(help="Only what ended so.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only from then on: 2026-11-01T00:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only before then.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print what comes, until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
    json_: Json = False,
) -> None:
    """Show who changed what, and who was refused a change, newest first. Users see what they did themselves, administrators everyone's.

    Examples:

    - `agon audit`
    - `agon audit --actor ada --action job`
    - `agon audit --target j-0123456789ab`
    - `agon audit --outcome refused --since 2026-11-01T00:00:00Z --json`
    - `agon audit --follow`
    """
    asked = {
        "actor": actor, "token": token, "action": action, "target": target, "outcome": outcome, "since": since, "until": until,
    }  # fmt: skip
    with connect() as client:
        if follow:
            with suppress(KeyboardInterrupt):
                for entry in client.follow_audit(**asked):
                    _print(entry, json_)
            return
        found = list(islice(client.every_audit(limit=min(limit, 200), **asked), limit))
    if json_:
        print_json([entry.model_dump(mode="json") for entry in found])
        return
    rows = [(ago(entry.time), *_row(entry)) for entry in found]
    print_table(
        ("when", "who", "action", "target", "outcome", "from"), rows, "nothing was changed, or it matches no filter"
    )


def _row(entry: AuditEntry) -> tuple[str, ...]:
    who = entry.owner or "unknown"
    if entry.token_name and entry.token_name != entry.owner:
        who += f" ({entry.token_name})"
    outcome = entry.outcome if entry.status is None or entry.outcome == "done" else f"{entry.outcome}, {entry.status}"
    times = f" × {entry.count:,}" if entry.count > 1 else ""
    return who, entry.action, plain(entry.target), outcome + times, entry.peer


def _print(entry: AuditEntry, json_: bool) -> None:
    if json_:
        sys.stdout.write(entry.model_dump_json() + "\n")
    else:
        out.print("  ".join((entry.time.strftime("%H:%M:%S"), *(word for word in _row(entry) if word))), markup=False)
    sys.stdout.flush()
