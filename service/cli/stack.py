"""agon up, down, status."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from service.cli.output import Exit, ago, err, fail, note, out, print_json, print_table, size, state
from service.stack.ports import LOOPBACK

if TYPE_CHECKING:
    from service.client import Run
    from service.stack.layout import Layout

TITLES = {"ray": "Ray", "mlflow": "MLflow", "api": "API"}
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def Port(help_: str) -> typer.models.OptionInfo:  # noqa: N802 — stands for an option's type
    """A port, or 0."""
    return typer.Option(help=help_, min=0, max=65535)  # type: ignore[no-any-return]


class Board:
    """The parts as they start or stop: live on a terminal, a line each elsewhere."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[str, float]] = {}
        self.spinner = Spinner("dots", style="cyan")
        self.live = Live(console=err, refresh_per_second=8, get_renderable=self.render) if err.is_terminal else None

    def __enter__(self) -> Board:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def report(self, part: str, what: str, seconds: float) -> None:
        """A part has changed."""
        self.states[part] = (what, seconds)
        if not self.live:
            err.print(f"{TITLES[part]}: {_told(what, seconds)}")

    def render(self) -> RenderableType:
        """The board as it is now."""
        grid = Table.grid(padding=(0, 1))
        for part, (what, seconds) in self.states.items():
            done = what in ("ready", "stopped")
            mark: RenderableType = Text("✓", "green") if done else self.spinner
            grid.add_row(mark, TITLES[part], Text(_told(what, seconds), "dim"))
        return grid


def _told(what: str, seconds: float) -> str:
    return what if what in ("starting", "stopping") else f"{what} after {seconds:.0f} s"


def up(
    api_port: Annotated[int, Port("Port of the API; 0 takes a free one.")] = 8700,
    mlflow_port: Annotated[int, Port("Port of MLflow; 0 takes a free one.")] = 8701,
    dashboard_port: Annotated[int, Port("Port of Ray's dashboard and Jobs API; 0 takes a free one.")] = 8265,
    gcs_port: Annotated[int, Port("Port of Ray's control store; 0 takes a free one.")] = 6379,
    serve_port: Annotated[
        int, Port("Port of Ray Serve's proxy, which answers questions to models; 0 takes a free one.")
    ] = 8702,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs that jobs may use.", show_default="all")] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address the API binds to. Ray and MLflow stay on loopback. With 0.0.0.0 or ::, name this machine in"
            " AGON_ALLOWED_HOSTS."
        ),
    ] = LOOPBACK,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another folder that jobs may read datasets from, beside AGON_HOME/data. Repeatable, and kept for later starts.",
            file_okay=False,
            exists=True,
        ),
    ] = None,
    forget_data_roots: Annotated[
        bool, typer.Option("--forget-data-roots", help="Start without the data roots of earlier starts.")
    ] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, and stop everything on SIGTERM or Ctrl-C.")
    ] = False,
    json_: Json = False,
) -> None:
    """Start the embedded stack: Ray, MLflow and the API on this machine.

    State lies under AGON_HOME (~/.agon). Does nothing if it runs already; starts again what has died. A --data-root that a
    running stack lacks is added to it.
    With --foreground (for containers) it ends with status 1 as soon as a part dies.

    Examples:

    - `agon up`
    - `agon up --api-port 9000 --cpus 4`
    - `AGON_HOME=/data/agon agon up --foreground`
    """
    from service import local
    from service.stack.errors import PartFailed
    from service.stack.layout import Layout, home_from_env
    from service.stack.parts import Config
    from service.stack.ports import Ports
    from service.stack.processes import interrupts_raised

    layout = Layout(home_from_env())
    ports = Ports(api_port, mlflow_port, dashboard_port, gcs_port, serve_port)
    roots = tuple(str(path.absolute()) for path in data_root or ())
    with interrupts_raised(), Board() as board:
        try:
            done = local.up(Config(layout, ports, host, cpus, roots), board.report, forget_roots=forget_data_roots)
        except PartFailed:
            if foreground:  # a container, say: half a stack is no service
                local.down(layout, board.report)
            raise
    if done.cleaned:
        note(f"killed {done.cleaned} processes left by a start that ended without `agon down`")
    record = done.record
    _explain_kept_ports(ports, Ports(**record.ports))
    if earlier := [root for root in record.data_roots if root not in roots]:
        note(f"jobs may also read data below {', '.join(earlier)}, as at an earlier start")
    if json_:
        print_json({"started": list(done.started), **record.model_dump(mode="json")})
    elif not done.started:
        err.print(f"already up since {ago(record.started_at)}; nothing was started")
    else:
        err.print(Text(f"up after {done.seconds:.0f} s", "bold green"))
    if not json_:
        out.print(f"Page       {record.api_url}   (sign in with the token in {layout.token})")
        out.print(f"API        {record.api_url}/v1   (docs: {record.api_url}/docs)")
        out.print(f"MLflow     {record.parts['mlflow'].url}")
        out.print(f"Ray        {record.parts['ray'].url}   (token: {layout.ray_token})")
    if foreground:
        _stay(layout)


def _explain_kept_ports(asked: object, running: object) -> None:
    from service.stack.ports import Ports

    asked_for, kept = asdict(asked), asdict(running)  # type: ignore[call-overload]
    changed = [
        name for name, port in asked_for.items() if port not in (0, kept[name]) and port != asdict(Ports())[name]
    ]
    if changed:
        note(
            f"its ports stay as they are ({', '.join(f'{name} {kept[name]}' for name in changed)}); `agon down` first to change them"
        )


def _stay(layout: object) -> None:
    from service import local
    from service.stack.layout import Layout

    assert isinstance(layout, Layout)  # noqa: S101
    with local.stop_on_signals() as asked:
        happened = local.supervise(layout, asked)
    with Board() as board:
        local.down(layout, board.report)
    if happened:
        fail(f"{happened}; the rest was stopped. Logs: {layout.logs}", Exit.FAILED)


def down(json_: Json = False) -> None:
    """Stop the embedded stack. Data, models and jobs stay under AGON_HOME.

    Jobs that are running are interrupted; they go on from their last checkpoint after the next `agon up`.

    Examples:

    - `agon down`
    - `AGON_HOME=/data/agon agon down`
    - `agon down --json | jq .interrupted`
    """
    from service import local
    from service.stack.layout import Layout, home_from_env

    layout = Layout(home_from_env())
    interrupted = _unfinished(layout)
    with Board() as board:
        stopped = local.down(layout, board.report)
    if json_:
        runs = [{"id": run.id, "name": run.name} for run in interrupted] if stopped else []
        print_json({"home": str(layout.home), "stopped": stopped, "interrupted": runs})
        return
    if stopped and interrupted:
        names = ", ".join(f"{run.id} ({run.name})" for run in interrupted)
        note(f"interrupted: {names}; `agon up` lets them go on from their last checkpoints")
    err.print("down" if stopped else f"nothing runs from {layout.home}")


def _unfinished(layout: Layout) -> list[Run]:
    """What runs on the local stack, jobs and searches; nothing if its API doesn't answer."""
    from service.client import Client, ClientError
    from service.stack import record as records

    running = records.read(layout.record)
    if running is None or "api" not in running.parts or not running.parts["api"].alive:
        return []
    found: list[Run] = []
    with (
        suppress(ClientError, OSError),
        Client(running.api_url, layout.token.read_text().strip(), timeout=5.0, patience=0.0) as client,
    ):
        for state_ in ("running", "starting"):
            found += [*client.jobs(state=state_, limit=20).items, *client.searches(state=state_, limit=20).items]
    return found


def status(json_: Json = False) -> None:
    """Show what runs of the embedded stack. Exit code 1 unless all of it does.

    Examples:

    - `agon status`
    - `agon status --json | jq .parts`
    """
    from service import local
    from service.stack.layout import Layout, home_from_env

    found = local.status(Layout(home_from_env()))
    if json_:
        print_json(
            {
                "home": str(found.home),
                "running": found.running,
                "started_at": found.started_at,
                "parts": [asdict(part) for part in found.parts],
            }
        )
    else:
        rows = [
            (
                TITLES[part.name],
                state(part.state),
                part.url or "–",
                part.pid or "–",
                size(part.memory) if part.pid else "–",
                part.log or "–",
            )
            for part in found.parts
        ]
        print_table(("part", "state", "url", "pid", "memory", "log"), rows, "")
        note(
            f"home {found.home}"
            + (f", up since {ago(found.started_at)}" if found.started_at else "; start it: agon up")
        )
    if not found.running:
        raise typer.Exit(Exit.FAILED)
