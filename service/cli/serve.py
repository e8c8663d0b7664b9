"""agon serve: what is kept ready on the cluster to answer questions to models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from service.cli.output import ago, note, print_json, print_table, state
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import Served, Serving

HELP = """What answers questions to models over HTTP: status, stop.

It starts by itself at the first question (`agon sample MODEL --remote`), and ends when nobody asks. `agon serve` is short for
`agon serve status`.
"""


class Short(TyperGroup):
    """`agon serve` alone means `agon serve status`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """With the verb."""
        words = (
            args
            if ctx.resilient_parsing or (args and args[0] in (*self.commands, "-h", "--help"))
            else ["status", *args]
        )
        parsed: list[str] = super().parse_args(ctx, words)
        return parsed


def status(json_: Json = False) -> None:
    """Show what is ready, what it holds of the cluster, when it was last asked, and why it isn't ready.

    Examples:

    - `agon serve status`
    - `agon serve --json | jq '.applications[].state'`
    """
    from service.client import Client

    with Client() as client:
        found = client.serving()
    _tell(found, json_)


def stop(json_: Json = False) -> None:
    """End it now, and free what it holds of the cluster. Questions that are under way fail; the next one starts it anew.

    Example: `agon serve stop`
    """
    from service.client import Client

    with Client() as client:
        found = client.stop_serving()
    _tell(found, json_)


def group(epilog: str) -> typer.Typer:
    """The verbs below `agon serve`."""
    found = typer.Typer(cls=Short, help=HELP, epilog=epilog, rich_markup_mode="markdown")
    for name, verb in (("status", status), ("stop", stop)):
        found.command(name, context_settings={"help_option_names": ["-h", "--help"]})(verb)
    return found


def _tell(found: Serving, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    if not found.enabled:
        note("this API answers no questions to models: AGON_SERVE is false")
    rows = [
        (
            one.name,
            state(str(one.state)),
            f"{one.replicas} of {one.most_replicas}",
            _place(one),
            ago(one.asked_at),
            one.reason,
        )
        for one in found.applications
    ]
    print_table(("application", "state", "replicas", "holds", "last asked", "why"), rows, "")


def _place(one: Served) -> str:
    parts = [f"{one.cpus:g} CPU{'' if one.cpus == 1 else 's'}"] if one.cpus else []
    parts += [f"{one.gpus:g} GPU{'' if one.gpus == 1 else 's'}"] if one.gpus else []
    return " and ".join(parts) or "–"
