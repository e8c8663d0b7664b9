"""Following a run: what a job's and a search's live progress have in common. Lines as things happen, and between them a picture
that is redrawn on a terminal, or a line of figures now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from service.cli.output import seconds, state
from service.client import Event
from trainer.plain import plain

PLAIN_SECONDS = 10.0
"""Between two progress lines where there is no terminal."""


class View(Protocol):
    """What is known of a run."""

    id: str
    name: str
    state: str
    wish: str
    """What it is asked to become, if that is not carried out yet."""
    begun: datetime | None
    """When it was submitted."""

    def apply(self, event: Event) -> list[str]:
        """Take the event in; lines to say of it."""
        ...

    @property
    def share(self) -> float:
        """How far it is, 0 to 1."""
        ...

    def numbers(self) -> str:
        """The figures in one line."""
        ...


Style = Callable[[str], str]
"""How a line looks."""


V = TypeVar("V", bound=View)


class Show(Generic[V]):
    """Says what happens, with the run's own time: since it was submitted. Entered while the run is followed."""

    def __init__(self, view: V, console: Console, style: Style) -> None:
        self.view, self.console, self.style = view, console, style

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def on_event(self, event: Event) -> None:
        """One more event."""
        for line in self.view.apply(event):
            self.console.print(Text.assemble((f"{self._time(event):>7}  ", "dim"), (plain(line), self.style(line))))

    def _time(self, event: Event) -> str:
        """Of what has happened, not of now: what is read again after a while says when it was."""
        if self.view.begun is None:
            return ""
        at = event.time or datetime.now(UTC)
        return seconds(max(0.0, (_aware(at) - _aware(self.view.begun)).total_seconds()))


def follow(show: Show[V], events: Iterable[Event]) -> None:
    """Show the run's events until it has ended or is paused; a paused run's stream goes on."""
    with show:
        for event in events:
            show.on_event(event)
            if show.view.state == "paused":
                return


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Plain(Show[V]):
    """Lines for logs and pipes."""

    def __init__(self, view: V, console: Console, style: Style, figures: Collection[str]) -> None:
        """figures: kinds of events after which figures are new."""
        super().__init__(view, console, style)
        self.figures, self.last = figures, float("-inf")

    def on_event(self, event: Event) -> None:
        """And a line of figures, if it is time."""
        super().on_event(event)
        now = time.monotonic()
        if event.kind in self.figures and now - self.last >= PLAIN_SECONDS:
            self.last = now
            self.console.print(Text(f"{self.view.share:>6.0%}  {self.view.numbers()}"))


class Drawn(Show[V]):
    """A picture of the run, redrawn in place; subclasses render it."""

    per_second = 8

    def __init__(self, view: V, console: Console, style: Style) -> None:
        super().__init__(view, console, style)
        self.spinner = Spinner("dots", style="cyan")
        self.live = Live(
            console=console, refresh_per_second=self.per_second, transient=True, get_renderable=self.render
        )

    def __enter__(self) -> None:
        self.live.start()

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def render(self) -> RenderableType:
        """What the terminal shows now."""
        raise NotImplementedError

    def head(self, doing: str) -> Table:
        """Who it is and what it does."""
        found = Table.grid(padding=(0, 1))
        view = self.view
        found.add_row(
            self.spinner,
            Text(view.name, "bold"),
            Text(view.id, "dim"),
            state(view.state),
            Text(f"{view.wish} … {doing}" if view.wish else doing, "yellow"),
        )
        return found

    def figures(self) -> Text:
        """The figures, on as many lines as they need: none is cut."""
        return Text(self.view.numbers(), no_wrap=False, overflow="fold")

    def bar(self, *words: str) -> Table:
        """How far it is."""
        found = Table.grid(padding=(0, 1))
        done = ProgressBar(total=1.0, completed=self.view.share, width=40)
        found.add_row(done, Text(f"{self.view.share:>4.0%}"), *(Text(word, "dim") for word in words))
        return found
