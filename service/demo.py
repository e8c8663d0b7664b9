"""`make demo`: the whole path once, on this machine: stack up, pack images, job over REST, model from the registry, images.

Everything lies under runs/demo. The stack is the demo's own, on free ports, so one that is up already is left alone. However it
ends (done, failed, Ctrl-C, SIGTERM), nothing is left running.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.text import Text

from service import local
from service.cli.output import Exit, err, out
from service.cli.stack import Board
from service.cli.watch import watch
from service.client import Client, ClientError, Job
from service.stack.errors import StackError
from service.stack.layout import Layout
from service.stack.parts import Config
from service.stack.ports import Ports
from service.stack.processes import interrupts_raised
from trainer.families.table import recipes

MODEL = "demo"
RECIPE = "dcgan-digits"


class DemoFailed(Exception):  # noqa: N818 — reads as what it is
    """A step of the demo did not work; the message says which and why."""


class Demo:
    """One run in one folder."""

    def __init__(self, folder: Path, overrides: dict[str, object]) -> None:
        self.folder = folder.absolute()
        self.layout = Layout(self.folder / "home")
        self.overrides = overrides
        self.took: list[tuple[str, float]] = []

    def run(self) -> None:
        """All steps, one after the other. Raises DemoFailed, StackError, ClientError or KeyboardInterrupt."""
        local.down(self.layout)  # of a demo that was killed
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            with self._step("start Ray, MLflow and the API"), Board() as board:
                config = Config(self.layout, Ports.free())
                record = local.up(config, board.report).record
            with self._step("pack scikit-learn's digits into shards"):
                dataset = self._pack()
            with self._step(f"train {RECIPE} on 2 workers, score and publish"):
                job = self._train(record.api_url, dataset)
            with self._step("pull the model and draw from it"):
                self._draw(job, record.parts["mlflow"].url)
        finally:
            with self._step("stop the stack"):
                local.down(self.layout)
        self._summary(job)

    def _pack(self) -> Path:
        """Shards of the bundled digits at the recipe's resolution; their folder."""
        target = self.layout.home / "data" / "digits"
        resolution = recipes()[RECIPE]().arch.resolution
        self._child("trainer.data", "pack", "builtin:digits", str(target), "--resolution", str(resolution))
        return target

    def _train(self, url: str, dataset: Path) -> Job:
        """Submit, follow, and make sure that it has registered a model."""
        overrides = {"data.url": str(dataset), "publish": {"model": MODEL}, "resources.workers": 2, **self.overrides}
        with Client(url, self.layout.token.read_text().strip()) as client:
            job = client.submit(recipe=RECIPE, set=overrides)
            err.print(f"  POST {client.url}/v1/jobs → {job.id}")
            err.print(f"  watch it: {client.url}/runs/{job.id} (sign in with the token in {self.layout.token})")
            job = watch(client, job)
            if job.state != "succeeded" or job.model is None:
                why = (
                    f"{job.failure.kind}: {job.failure.reason}"
                    if job.failure
                    else job.reason or "it registered no model"
                )
                raise DemoFailed(f"job {job.id} {job.state}: {why}\n{_tail(client, job)}")
            return job

    def _draw(self, job: Job, registry: str) -> None:
        assert job.model is not None  # noqa: S101 — _train has made sure
        model = f"{MODEL}@champion" if job.model.champion else f"{MODEL}/{job.model.version}"
        pulled, grid = str(self.folder / "model"), str(self.folder / "samples.png")
        self._child("trainer.publish", "pull", model, pulled, registry=registry)
        self._child(
            "trainer.publish",
            "sample",
            pulled,
            "-n",
            "80",
            "--labels",
            "balanced",
            "--seed",
            "1",
            "--out",
            grid,
            registry=registry,
        )

    def _child(self, module: str, *arguments: str, registry: str | None = None) -> None:
        """Run `python -m module`. A terminal's Ctrl-C doesn't reach it, or it would print a traceback of its own; this process ends it."""
        env = (
            os.environ | {"AGON_HOME": str(self.layout.home)} | ({"MLFLOW_TRACKING_URI": registry} if registry else {})
        )
        child = subprocess.Popen([sys.executable, "-m", module, *arguments], env=env, start_new_session=True)
        try:
            status = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if status:
            raise DemoFailed(f"`python -m {module} {shlex.join(arguments)}` ended with status {status}")

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        err.print(Text(f"== {title}", "bold"))
        begun = time.monotonic()
        try:
            yield
        finally:
            self.took.append((title, time.monotonic() - begun))

    def _summary(self, job: Job) -> None:
        err.print()
        for title, seconds in self.took:
            err.print(f"  {seconds:6.1f} s  {title}")
        err.print(f"  {sum(seconds for _, seconds in self.took):6.1f} s  in all\n")
        assert job.model is not None  # noqa: S101 — _train has made sure
        alias = "@champion" if job.model.champion else f"/{job.model.version}"
        out.print(f"models:/{job.model.name}{alias}")
        out.print(str(self.folder / "samples.png"))
        report = self.layout.home / "jobs" / job.id / "report.html"
        if report.is_file():  # a report is no condition of a job
            out.print(str(report))


def _tail(client: Client, job: Job, lines: int = 30) -> str:
    try:
        return f"the end of its log:\n{client.logs(job.id, tail=lines)}"
    except ClientError:
        return "its log can't be read"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m service.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the demo, made anew (runs/demo)")
    parser.add_argument("--images", type=int, help="train on so many images instead of the recipe's number")
    wanted = parser.parse_args()
    demo = Demo(wanted.out, {"train.images": wanted.images} if wanted.images else {})
    try:
        with interrupts_raised():
            demo.run()
    except KeyboardInterrupt:
        err.print("interrupted; nothing is left running")
        sys.exit(Exit.INTERRUPTED)
    except (DemoFailed, StackError, ClientError, OSError) as error:
        err.print(Text.assemble(("the demo failed: ", "bold red"), str(error)))
        err.print(f"logs: {demo.layout.logs}, {demo.layout.home / 'jobs'}")
        sys.exit(Exit.FAILED)


if __name__ == "__main__":
    main()
