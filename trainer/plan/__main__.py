"""`python -m trainer.plan FILE|RECIPE`: what a spec will cost. `agon plan` runs this. Imports torch only when there is a spec to plan."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from trainer import commandline
from trainer.plan.devices import GPUS, Device, cpu, placed
from trainer.plan.devices import find as find_device
from trainer.source import find_spec
from trainer.spec import FieldError, JobSpec, SpecError, explain, parse_spec, with_overrides

USAGE = 2

HELP = f"""Say what FILE (a spec in YAML or JSON) or a RECIPE will cost before it runs: parameters, FLOPs, memory by part, traffic, time.

The family's own nets, phases and optimisers run on fake tensors: nothing is computed or allocated, so a model for 512 GPUs is planned
in seconds on a laptop. Exit code 0 also if it does not fit; the verdict says which micro-batch would.

- `agon plan dcgan-64` (on this machine's CPU, as many workers as the spec says)
- `agon plan biggan-imagenet128 --gpus 8 --gpu v100`
- `agon plan job.yaml --gpu h100 --set train.micro_batch=64 --json`
- `agon plan --calibrate` (measure this CPU first: its times are then its own)
- `agon plan dcgan-64 --calibrate` (and each of this spec's operations: the closest there is)

GPUs: {", ".join(GPUS)}. `--gpu cpu` plans for CPU workers.

Memory is what tensors take at the fullest moment of a step, plus what a process or a GPU's context takes. Time is a roofline: each
operation is bound by its arithmetic or by its bytes; `assumed` lists the shares of the peak. docs/scaling.md tells more."""

app = commandline.program()


@app.command(help=HELP, context_settings=commandline.CONTEXT)
def main(
    source: Annotated[
        str | None, typer.Argument(metavar="FILE|RECIPE", help="A spec file, a recipe's name, or - for JSON on stdin.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field of the spec; repeatable.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Workers, one device each.", show_default="resources.workers")
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(help="The device.", show_default="h100 with resources.gpus_per_worker=1 or --gpus, else cpu"),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(min=1, help="Bytes of memory of one worker's device.", show_default="the device's own"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Measure this machine's CPU, and the spec's operations on it, and keep the rates."
        ),
    ] = False,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where calibrations are kept.", show_default="$AGON_HOME/cache")
    ] = None,
) -> None:
    folder = cache_dir or Path(os.environ.get("AGON_HOME", "~/.agon")).expanduser() / "cache"
    if calibrate and (source is None or not _calibrated(folder)):
        _calibrate(folder)
    if source is None:
        if not calibrate:
            fail(
                [
                    FieldError(
                        path="FILE|RECIPE",
                        message="is required",
                        fix="e.g. agon plan dcgan-64 (agon recipes lists them)",
                    )
                ]
            )
        return
    try:
        spec = with_overrides(read(source), assignments or [])
        device = chosen(spec, gpu, gpus, memory)
    except SpecError as error:
        fail(error.errors, json_)
    except OSError as error:
        fail([FieldError(path="", message=str(error))], json_)
    world = gpus or spec.resources.workers
    try:
        spec = placed(spec, world, device)
    except ValidationError as error:
        fail(explain(error), json_)
    if calibrate:
        _calibrate_for(spec, world, folder)
    _show(spec, world, device, folder, json_)


def read(source: str) -> JobSpec:
    """The spec of a file, a recipe or stdin. Raises SpecError or OSError."""
    if source != "-":
        return find_spec(source)
    try:
        return parse_spec(json.loads(sys.stdin.read()))
    except json.JSONDecodeError as error:
        raise SpecError([FieldError(path="", message=f"stdin is not JSON: {error}")]) from error


def chosen(spec: JobSpec, gpu: str | None, gpus: int | None, memory: int | None) -> Device:
    """The device to plan for. A CPU worker has this machine's memory, shared by all, unless `memory` says otherwise.

    Raises SpecError for a name that is not known.
    """
    name = gpu or ("h100" if gpus or spec.resources.gpus_per_worker else "cpu")
    try:
        device = find_device(name)
    except ValueError as error:
        raise SpecError([FieldError(path="--gpu", message=str(error))]) from error
    if memory is not None:
        return device.replace(memory=memory)
    if name != "cpu":
        return device
    import psutil

    return cpu(psutil.virtual_memory().total // (gpus or spec.resources.workers))


def _show(spec: JobSpec, world: int, device: Device, folder: Path, as_json: bool) -> None:
    from trainer.plan.build import plan
    from trainer.plan.calibrate import stored
    from trainer.plan.roofline import Measured

    measured = stored(folder) if device.kind == "cpu" else None
    found = plan(spec, world=world, device=device, rates=Measured(measured) if measured else None)
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
        return
    from rich.console import Console

    from trainer.plan.table import render

    Console(highlight=False, soft_wrap=True).print(render(found))


def _calibrate(folder: Path) -> None:
    from trainer.plan.calibrate import calibrate, curve, store
    from trainer.plan.words import large

    found = calibrate()
    path = store(found, folder)
    for title, points in curve(found):
        rates = ", ".join(f"{size:.0f}: {large(rate, 'FLOP/s')}" for size, rate in points)
        typer.echo(f"{title}: {rates}", err=True)
    typer.echo(f"kept in {path}", err=True)


def _calibrated(folder: Path) -> bool:
    from trainer.plan.calibrate import stored

    return stored(folder) is not None


def _calibrate_for(spec: JobSpec, world: int, folder: Path) -> None:
    """Time each of the spec's operations on this CPU, as one of so many workers runs them, and keep that."""
    from rich.console import Console
    from rich.progress import Progress

    from trainer.plan.build import operations
    from trainer.plan.calibrate import known, store, stored

    found = stored(folder)
    if found is None:
        return
    step = operations(spec, world=world)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("timing the spec's operations", total=len(step.calls))
        after = known(found, step, lambda count: progress.update(task, completed=count))
    path = store(after, folder)
    typer.echo(f"{len(step.calls)} operations of this spec timed; kept in {path}", err=True)


def fail(errors: list[FieldError], as_json: bool = False) -> NoReturn:
    """Say what is wrong on stderr, as JSON on stdout, and exit."""
    if as_json:
        sys.stdout.write(json.dumps({"errors": [error.model_dump() for error in errors]}) + "\n")
    for error in errors:
        typer.echo(f"error: {error.line().removeprefix('spec: ')}", err=True)
    raise typer.Exit(USAGE)


if __name__ == "__main__":
    commandline.run(app, "trainer.plan")
