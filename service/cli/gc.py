"""agon gc: what nobody needs goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.arguments import Yes, connect
from service.cli.output import Exit, err, fail, note, print_json, print_table, size
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import Client, Collected, Garbage


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, how large it is, and why.")
    ] = False,
    samples_days: Annotated[
        float | None,
        typer.Option(
            "--samples-days",
            metavar="DAYS",
            min=0,
            help="Also sample grids, but for the newest, of runs that ended longer ago.",
        ),
    ] = None,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Remove what nobody needs: superseded checkpoints of what has ended, leftovers of processes that died, deletions that broke off.

    What stays of a job that has ended is what both its spec (checkpoint.keep_last, keep_best, keep_every_images) and the server's
    settings (AGON_KEEP_LAST, …) keep. Never what is pinned, what a fork began with, or what a registered version needs. On a terminal
    it asks first. For administrators. Exit code 1 if something could not be removed.

    Examples:

    - `agon gc --dry-run`
    - `agon gc --yes`
    - `agon gc --dry-run --samples-days 90`
    """
    asked: dict[str, Any] = {"samples_days": samples_days}
    with connect() as client:
        ask = not dry_run and not yes and sys.stdin.isatty()
        if dry_run or ask:
            found = list(_parts(client, dry_run=True, **asked))
            _show(found, json_ and dry_run)
            if dry_run or not any(part.items for part in found):
                return
            if not typer.confirm("Remove all of this? It can't be undone.", err=True):
                raise typer.Exit(Exit.FAILED)
        found = list(_parts(client, dry_run=False, **asked))
    if json_ or not ask:
        _show(found, json_)
    else:
        note(f"removed: {size(sum(part.bytes for part in found))}")
    if left := [text for part in found for text in part.left]:
        fail(f"something could not be removed: {'; '.join(left)}", Exit.FAILED)


def _parts(client: Client, **asked: Any) -> Iterator[Collected]:
    """The answers of all calls that it takes."""
    cursor: int | None = 0
    while cursor is not None:
        part = client.collect(cursor=cursor, **asked)
        yield part
        cursor = part.next_cursor


def _show(found: Sequence[Collected], json_: bool) -> None:
    items = [item for part in found for item in part.items]
    if leaving := sum(part.leaving for part in found):
        runs = "1 run has ended whose driver is" if leaving == 1 else f"{leaving} runs have ended whose drivers are"
        note(f"{runs} not gone yet: nothing of theirs is collected. Try again in some seconds")
    if json_:
        print_json([item.model_dump(mode="json") for item in items])
        return
    rows = [
        (item.what, _whose(item), "" if item.step is None else item.step, size(item.bytes), item.reason)
        for item in items
    ]
    print_table(("what", "of", "step", "size", "reason"), rows, "nothing to remove")
    if items:
        would = "would go" if found[0].dry_run else "are gone"
        err.print(f"{len(items)} of them {would}: {size(sum(item.bytes for item in items))}", style="dim")


def _whose(item: Garbage) -> str:
    return "/".join(part for part in (item.run, item.trial) if part)
