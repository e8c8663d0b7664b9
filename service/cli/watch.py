"""Live progress of a job: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from service.cli.output import err, seconds, state
from service.cli.view import JobView
from service.client import Client, Event, Job

PLAIN_SECONDS = 10.0
"""Between two progress lines where there is no terminal."""


def watch(client: Client, job: Job, console: Console = err) -> Job:
    """Follow the job until it has ended; its final state. Raises ClientError, and KeyboardInterrupt as it comes."""
    view = JobView.of(job)
    show = _Live(view, console) if console.is_terminal else _Plain(view, console)
    with show:
        return client.wait(job.id, on_event=show.on_event)


class _Show:
    def __init__(self, view: JobView, console: Console) -> None:
        self.view, self.console, self.begun = view, console, time.monotonic()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def on_event(self, event: Event) -> None:
        for line in self.view.apply(event):
            stamp = f"{seconds(time.monotonic() - self.begun):>6}  "
            self.console.print(Text.assemble((stamp, "dim"), (line, _style(line))))


class _Plain(_Show):
    """Lines for logs and pipes."""

    last = float("-inf")

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        now = time.monotonic()
        if event.kind == "progress" and now - self.last >= PLAIN_SECONDS:
            self.last = now
            self.console.print(Text(f"{self.view.share:>6.0%}  {self.view.numbers()}"))


class _Live(_Show):
    """A bar and the figures, redrawn in place."""

    def __init__(self, view: JobView, console: Console) -> None:
        super().__init__(view, console)
        self.spinner = Spinner("dots", style="cyan")
        self.live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self.render)

    def __enter__(self) -> None:
        self.live.start()

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def render(self) -> RenderableType:
        view = self.view
        head = Table.grid(padding=(0, 1))
        head.add_row(
            self.spinner,
            Text(view.name, "bold"),
            Text(view.id, "dim"),
            state(view.state),
            Text(view.doing or view.reason, "yellow"),
        )
        if not view.step:
            return head
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=1.0, completed=view.share, width=40),
            Text(f"{view.share:>4.0%}"),
            Text(f"{view.images:,} of {view.total_images:,} images", "dim"),
        )
        return Group(head, bar, Text(view.numbers()))


def _style(line: str) -> str:
    if line.startswith("failed"):
        return "bold red"
    if line.startswith(("warning", "waiting", "worker group", "rolled back")):
        return "yellow"
    return "green" if line.startswith(("succeeded", "published")) else ""
