"""Live progress of a search: a table of its trials on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.follow import Drawn, Plain, follow
from service.cli.output import err, state
from service.cli.search.view import SearchView, TrialLine, value
from service.client import Client, Search

AROUND = 9
"""Lines of the screen that are not trials."""


def watch(client: Client, search: Search, console: Console = err) -> Search:
    """Follow the search until it has ended or is paused; as it is then. Raises ClientError, and KeyboardInterrupt as it comes."""
    view = SearchView.of(search)
    show = _Live(view, console, _style) if console.is_terminal else Plain(view, console, _style, ("progress", "trial"))
    follow(show, client.search_events(search.id))
    return client.get_search(search.id)


def columns(trials: Sequence[TrialLine]) -> list[str]:
    """The paths that any of the trials has a value of."""
    return list(dict.fromkeys(path for trial in trials for path in trial.values))


def short(paths: Sequence[str]) -> list[str]:
    """The paths without the sections that all have in common: `optimizers.G.lr`, `optimizers.D.lr` → `G.lr`, `D.lr`."""
    split = [path.split(".") for path in paths]
    shared = 0
    while all(len(parts) > shared + 1 for parts in split) and len({parts[shared] for parts in split}) == 1:
        shared += 1
    return [".".join(parts[shared:]) for parts in split]


def table(trials: Sequence[TrialLine], metric: str, best: str | None) -> Table:
    """Trials as they are given, with a column for each searched field."""
    paths = columns(trials)
    found = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("trial", "state"):
        found.add_column(name)
    for name in (metric, "images", *short(paths)):
        found.add_column(name, justify="right")
    for trial in trials:
        first = Text(trial.id, "bold green" if trial.id == best else "")
        cells = (value(trial.values[path]) if path in trial.values else "–" for path in paths)
        found.add_row(first, state(trial.state), trial.words, f"{trial.images:,}", *cells)
    return found


class _Live(Drawn[SearchView]):
    """The trials, best first."""

    per_second = 4

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self.view.trials:  # what stays on the screen
            self.console.print(self.trials(len(self.view.trials)))

    def render(self) -> RenderableType:
        view = self.view
        head = self.head(view.reason)
        if not view.trials:
            return head
        trials = self.trials(max(3, self.console.size.height - AROUND))
        return Group(head, self.bar(), self.figures(), "", trials)

    def trials(self, most: int) -> RenderableType:
        ranked, best = self.view.ranked, self.view.best
        found = table(ranked[:most], self.view.metric, best.id if best else None)
        hidden = len(ranked) - most
        return Group(found, Text(f"and {hidden} more", "dim")) if hidden > 0 else found


def _style(line: str) -> str:
    if line.startswith("failed"):
        return "bold red"
    if line.startswith(("warning", "waiting", "paused")) or " diverged" in line or " failed," in line:
        return "yellow"
    return "green" if line.startswith(("succeeded", "published", "new best")) else ""
