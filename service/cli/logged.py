"""What `agon logs` and `agon search logs` have in common: which log, how it is followed, how it is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from service.cli.output import Exit, ago, err, note, print_json, print_table, size
from service.cli.specs import Json
from trainer.plain import Plain, plain

if TYPE_CHECKING:
    from service.client import Client, Run


@dataclass(frozen=True)
class Asked:
    """Which log, and how: the options of both verbs."""

    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False
    tail: Annotated[int | None, typer.Option(min=1, help="Only so many last lines.")] = None
    attempt: Annotated[int | None, typer.Option(min=1, help="Of that attempt.", show_default="the newest")] = None
    rank: Annotated[
        int | None, typer.Option(min=0, help="Of that worker.", show_default="the driver; of a trial its first worker")
    ] = None
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="TEXT",
            help="Only lines that have this text, in any case; without --rank of the driver and all workers. Repeatable: any of them.",
        ),
    ] = None
    context: Annotated[
        int, typer.Option("--context", "-C", min=0, max=10, help="With --search: so many lines around each, too.")
    ] = 0
    case: Annotated[bool, typer.Option("--case", help="With --search: tell A to Z from a to z.")] = False
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it there, byte for byte; with --all a tar.", show_default="stdout"),
    ] = None
    all: Annotated[
        bool, typer.Option("--all", help="Fetch all logs (of all attempts unless --attempt is given) as one tar.")
    ] = False
    listed: Annotated[bool, typer.Option("--list", help="List the logs that are kept, and print none.")] = False
    json: Json = False

    def check(self) -> None:
        """Raises typer.BadParameter for what doesn't go together."""
        ways = {"--follow": self.follow, "--search": bool(self.texts), "--all": self.all, "--list": self.listed}
        given = [name for name, wanted in ways.items() if wanted]
        if len(given) > 1:
            raise typer.BadParameter(f"give one of {' and '.join(given)}")
        if (self.context or self.case) and not self.texts:
            raise typer.BadParameter("--context and --case go with --search")
        if self.json and not (self.texts or self.listed):
            raise typer.BadParameter("--json goes with --search and --list; a log is text")
        if self.tail is not None and (self.out is not None or (given and not self.follow)):
            raise typer.BadParameter("--tail goes with --follow or alone")
        if self.out is not None and given not in ([], ["--all"]):
            raise typer.BadParameter(f"--out goes with --all or alone, not with {given[0]}")
        if self.rank is not None and (self.all or self.listed):
            raise typer.BadParameter(f"{given[0]} is of all ranks; --rank goes without it")


def options(*but: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Of a verb that takes an `Asked`: in its place it has the options, `but` for some."""

    def of(verb: Callable[..., None]) -> Callable[..., None]:
        taken = [field for field in fields(Asked) if field.name not in but]

        @wraps(verb)
        def asking(**given: Any) -> None:
            asked = Asked(**{field.name: given.pop(field.name) for field in taken})
            asked.check()
            verb(**given, asked=asked)

        hints, own = get_type_hints(Asked, include_extras=True), signature(verb, eval_str=True).parameters.values()
        shown = [
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
            for field in taken
        ]
        asking.__signature__ = Signature([*(one for one in own if one.name != "asked"), *shown])  # type: ignore[attr-defined]
        return asking

    return of


@dataclass(frozen=True)
class Source:
    """Whose logs."""

    id: str
    """A job's, a search's, or `SEARCH/TRIAL`."""
    run: Run
    """The job, or the search."""
    verbs: str = "agon"
    """What follows and stops the run begins with this."""

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Ctrl-C ends the command and says that it did not end the run."""
        try:
            yield
        except KeyboardInterrupt:
            run = self.run.id
            err.print(f"\n{run} goes on. Follow it: {self.verbs} watch {run}   Stop it: {self.verbs} cancel {run}")
            raise typer.Exit(Exit.INTERRUPTED) from None


def of_search(client: Client, of: str) -> Source:
    """A search's or a trial's."""
    return Source(of, client.get_search(of.partition("/")[0]), "agon search")


def show(client: Client, source: Source, asked: Asked) -> None:
    """Print what was asked for, or write it to a file."""
    if asked.listed:
        _list(client, source, asked.json)
    elif asked.texts:
        _search(client, source, asked)
    elif asked.all:
        path = asked.out or Path(f"{source.id.replace('/', '-')}-logs.tar")
        typer.echo(str(client.save_logs(source.id, path, attempt=asked.attempt)))
    elif asked.follow:
        with source.leaving():
            _follow(client, source, asked)
    elif asked.out is not None:
        typer.echo(str(client.save_log(source.id, asked.out, attempt=asked.attempt, rank=asked.rank)))
    else:
        text = client.logs(source.id, tail=asked.tail, attempt=asked.attempt, rank=asked.rank)
        sys.stdout.write(plain(text))
        if not text:
            note(_none(source.run))


def _list(client: Client, source: Source, json_: bool) -> None:
    found = list(client.every_log_file(source.id))
    if json_:
        print_json([log.model_dump(mode="json") for log in found])
        return
    rows = [
        (log.attempt, _who(log.rank), size(log.bytes), "yes" if log.cut else "", ago(log.written_at)) for log in found
    ]
    print_table(("attempt", "rank", "size", "cut", "written"), rows, f"{source.id} has no logs yet")


def _search(client: Client, source: Source, asked: Asked) -> None:
    """As grep does: `rank 1:12:text`, with `-` for the lines around, and `--` between what doesn't hang together."""
    found = client.search_in_logs(
        source.id, *(asked.texts or ()), attempt=asked.attempt, rank=asked.rank, case=asked.case, context=asked.context
    )
    if asked.json:
        print_json([line.model_dump(mode="json") for line in found])
        return
    last: tuple[int | None, int] | None = None
    for hit in found:
        first = hit.line - len(hit.before)
        if asked.context and last is not None and last != (hit.rank, first - 1):
            typer.echo("--")
        who = "driver" if hit.rank is None else f"rank {hit.rank}"
        for number, text in enumerate((*hit.before, hit.text, *hit.after), start=first):
            mark = ":" if number == hit.line else "-"
            typer.echo(f"{who}{mark}{number}{mark}{plain(text)}")
        last = (hit.rank, hit.line + len(hit.after))
    if last is None:
        note(f"no line of {source.id} has {' or '.join(map(repr, asked.texts or ()))}")
        raise typer.Exit(Exit.FAILED)


def _who(rank: int | None) -> str:
    return "driver" if rank is None else str(rank)


def _none(run: Run) -> str:
    """Why there is nothing to print."""
    if run.attempt == 0:
        return f"no log yet: {run.id} is {run.state}" + (f", {run.reason}" if run.reason else "")
    return f"attempt {run.attempt} left no log" if run.ended else f"no log yet: attempt {run.attempt} is just beginning"


def _follow(client: Client, source: Source, asked: Asked) -> None:
    """Print the log as it grows, to the end of one attempt and then that of the next."""
    attempt, text = asked.attempt or max(1, source.run.attempt), Plain()
    for piece in client.follow_log(source.id, attempt=asked.attempt, rank=asked.rank, tail=asked.tail):
        if piece.attempt > attempt:
            attempt = piece.attempt
            note(f"attempt {attempt}")
        sys.stdout.write(text.feed(piece.text))
        sys.stdout.flush()
    sys.stdout.write(text.end())
