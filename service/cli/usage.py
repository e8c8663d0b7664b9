"""agon usage: who has used how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.bodies.usage import By
from service.cli.arguments import Owner, connect
from service.cli.output import print_json, print_table
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import Account, Accounts


def usage(
    by: Annotated[By, typer.Option(help="What it is added up by.")] = By.OWNER,
    owner: Owner = None,
    lineage: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Only this job or search, all that it goes back to, and its forks."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs submitted from then on: 2026-11-01T00:00:00Z.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="At most so many.")] = 50,
    json_: Json = False,
) -> None:
    """Show how many CPU- and GPU-hours runs have used, the largest first, and how many were planned; in money, if the server has
    prices.

    What was deleted stays in it. Users see their own, administrators everyone's.

    Examples:

    - `agon usage`
    - `agon usage --by family --since 2026-11-01T00:00:00Z`
    - `agon usage --by run --lineage j-0123456789ab`
    """
    with connect() as client:
        found = client.usage(by=by.value, owner=owner, lineage=lineage, since=since, limit=limit)
    if json_:
        print_json(found.model_dump(mode="json"))
        return
    money = (f"cost, {found.prices.currency}".rstrip(", "),) if found.prices else ()
    rows = [_row(account, found) for account in found.items]
    if len(rows) > 1:
        rows.append(_row(found.total, found))
    titles = ("GPU-hours", "planned", "CPU-hours", "planned", "on the cluster", "in the queue")
    print_table((by.value, "runs", *titles, *money), rows, "no runs yet")


def _row(account: Account, found: Accounts) -> tuple[Any, ...]:
    planned = [_planned(account, hours) for hours in (account.planned_gpu_hours, account.planned_cpu_hours)]
    used = [f"{hours:,.3g}" for hours in (account.gpu_hours, account.cpu_hours, account.run_hours, account.queue_hours)]
    money = (f"{account.cost:,.2f}",) if found.prices and account.cost is not None else ()
    return (account.name, account.runs, used[0], planned[0], used[1], planned[1], *used[2:], *money)


def _planned(account: Account, hours: float | None) -> str:
    """`12.3`; where it is known of some of the runs alone, `12.3 (2 runs)`."""
    if hours is None:
        return "–"
    count = account.planned_runs
    return f"{hours:,.3g}" + ("" if count == account.runs else f" ({count:,} run{'s' if count != 1 else ''})")
