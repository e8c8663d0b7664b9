"""What is said of a run that waits: where it stands, when it starts, and what would start it sooner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.cli.output import seconds

if TYPE_CHECKING:
    from service.bodies.waiting import Delay, Eta, Waiting
    from service.client import Run

SURE = {
    "told": "as those say that it waits for",
    "likely": "by how long others like those took that it waits for",
}
SOON = 60.0
"""What starts within so many seconds starts at once."""


def place(run: Run) -> str:
    """`, 3rd in line`; empty for one that isn't in it."""
    position = run.waiting.position if run.waiting else None
    return f", {_nth(position)} in line" if position else ""


def waits(run: Run, edit: str) -> Iterator[tuple[str, str]]:
    """Name and value of each line. edit: what is typed to edit it, `agon edit`."""
    yield "priority", f"{run.priority}{', makes room for higher ones' if run.preemptible else ''}"
    waiting = run.waiting
    if waiting is None:
        return
    if waiting.position:
        behind = ", ".join(waiting.ahead)
        more = ", …" if waiting.position - 1 > len(waiting.ahead) else ""
        yield "in line", f"{_nth(waiting.position)}{f', behind {behind}{more}' if behind else ''}"
    if waiting.delay:
        yield "fair share", later(waiting.delay, run.owner)
    yield "starts", _starts(waiting.eta) if waiting.eta else ""
    for each in waiting.cheaper:
        changes = " ".join(f"--set {path}={value}" for path, value in each.change.items())
        yield "sooner", f"{edit} {run.id} {changes}: {_starts(each.starts, short=True)}"


def would_start(waiting: Waiting) -> Iterator[str]:
    """Of what isn't submitted, a line each."""
    needs, free = waiting.needs, waiting.free
    if waiting.for_ == "cluster" or free is None:
        yield "nothing is known of the cluster now, nor when it would start"
        return
    if waiting.for_ == "nodes":
        yield "it would not start: the cluster has no nodes that hold it"
    elif waiting.eta:
        line = f", {_nth(waiting.position)} in line" if waiting.position and waiting.ahead else ""
        yield f"submitted now, it would start {_starts(waiting.eta)}{line}"
    kinds = (("CPUs", needs.cpus, free.cpus), ("GPUs", needs.gpus, free.gpus))
    lacks = [f"{got:g} of {need:g} {what} free" for what, need, got in kinds if got < need]
    if lacks:
        yield " and ".join(lacks)
    for each in waiting.cheaper:
        changes = " ".join(f"--set {path}={value}" for path, value in each.change.items())
        yield f"with {changes} it would start {_starts(each.starts, short=True)}"


def later(delay: Delay, owner: str) -> str:
    """`counts as submitted 2.3 hours later: ada had used …`."""
    had = f"{owner} had used {delay.used_hours:.3g} hours of the whole cluster of late, and had {delay.held_hours:.3g} more in hand"
    ahead = f"{delay.passed_by:,} run{'s are' if delay.passed_by != 1 else ' is'} ahead of it for that"
    return f"counts as submitted {delay.hours:.2g} hours later: {had}" + (f"; {ahead}" if delay.passed_by else "")


def _starts(eta: Eta, *, short: bool = False) -> str:
    """`in 5:00 to 12:00 (…)`."""
    early = _from_now(eta.early)
    if eta.late is None:
        open_end = "" if short else "; nobody knows how long some of those take that it waits for"
        return ("at the earliest now" if early < 1 else f"at the earliest in {seconds(early)}") + open_end
    late = _from_now(eta.late)
    if late < SOON:
        return "at once"
    return f"in {seconds(early)} to {seconds(late)}" + ("" if short or eta.sure not in SURE else f", {SURE[eta.sure]}")


def _from_now(moment: datetime) -> float:
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _nth(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number:,}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"
