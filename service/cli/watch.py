"""Live progress of a job: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType

from service.cli.follow import Drawn, Plain, follow
from service.cli.output import err
from service.cli.view import JobView
from service.client import Client, Job


def watch(client: Client, job: Job, console: Console = err) -> Job:
    """Follow the job until it has ended or is paused; as it is then. Raises ClientError, and KeyboardInterrupt as it comes."""
    view = JobView.of(job)
    show = _Live(view, console, _style) if console.is_terminal else Plain(view, console, _style, ("progress",))
    follow(show, client.events(job.id))
    return client.job(job.id)


class _Live(Drawn[JobView]):
    """A bar and the figures."""

    def render(self) -> RenderableType:
        view = self.view
        head = self.head(view.doing or view.reason)
        if not view.step:
            return head
        return Group(head, self.bar(f"{view.images:,} of {view.total_images:,} images"), self.figures())


def _style(line: str) -> str:
    if line.startswith("failed"):
        return "bold red"
    if line.startswith(("warning", "waiting", "paused", "worker group", "rolled back")):
        return "yellow"
    return "green" if line.startswith(("succeeded", "published")) else ""
