"""A group of verbs about one kind of thing: `agon models` lists them, `agon models NAME` shows one, `agon checkpoints JOB` lists its."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperArgument, TyperGroup

from service.cli.output import note

if TYPE_CHECKING:
    from service.client import Page

T = TypeVar("T")
HELP = ("-h", "--help")
HELP_OPTIONS = {"help_option_names": list(HELP)}
SAME = {"token": "tokens", "owner": "owners"}
LIST, SHOW = "list", "show"
PAGE = 100
Most = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]


@dataclass(frozen=True)
class Group:
    """One group. Its help begins with a sentence, which stands alone where groups are listed."""

    name: str
    help: str
    verbs: Mapping[str, Callable[..., None]]

    def app(self, epilog: str) -> typer.Typer:
        """The verbs below `agon NAME`."""
        found = typer.Typer(cls=Things, help=self.help, epilog=epilog, rich_markup_mode="markdown")
        for name, verb in self.verbs.items():
            found.command(name, context_settings=HELP_OPTIONS)(verb)
        return found


class Root(TyperGroup):
    """All verbs. One thing has the same verbs as many."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """By its name: `agon token …` is `agon tokens …`."""
        return super().get_command(ctx, SAME.get(cmd_name, cmd_name))


class Things(TyperGroup):
    """What is typed without a verb means `list` or `show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """With the verb; a shell that asks for completions gets them for what stands there."""
        parsed: list[str] = super().parse_args(ctx, args if ctx.resilient_parsing else self.spelled(args))
        return parsed

    def spelled(self, words: Sequence[str]) -> list[str]:
        """The words with their verb. Where things are listed of something, its name alone means that."""
        listed_of = any(isinstance(param, TyperArgument) for param in self.commands[LIST].params)
        return spelled(self.commands, words, LIST if listed_of else SHOW)


def spelled(verbs: Collection[str], words: Sequence[str], named: str = SHOW) -> list[str]:
    """The words with their verb: a name alone means `named`, options alone go to the list."""
    first = words[0] if words else ""
    if first in HELP or first in verbs:
        return list(words)
    if not first or first.startswith("-"):
        return [LIST, *words]
    return [named, *words] if named in verbs else list(words)


def most(call: Callable[..., Page[T]], limit: int, *given: str) -> list[T]:
    """The first `limit` items of a list that comes page by page; says so if there are more."""
    found: list[T] = []
    cursor = None
    while True:
        page = call(*given, limit=min(limit - len(found), PAGE), cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None or len(found) >= limit:
            break
    if cursor is not None:
        note(f"there are more than these {len(found)}; --limit shows them")
    return found
