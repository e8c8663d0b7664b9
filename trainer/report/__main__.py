"""`python -m trainer.report`: make a report from a job's folder, a package or a registered model. `agon report` runs this."""

from __future__ import annotations

import json
import logging
import os
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from trainer import commandline
from trainer.checksums import verify_checksums
from trainer.errors import TrainingError
from trainer.publish.pull import package_of
from trainer.report.build import write_report
from trainer.report.load import Where, from_job, from_package, is_job, is_package
from trainer.report.subject import FULL, QUICK
from trainer.spec import SpecError

HELP = """Make a report: one HTML page with samples, interpolations, nearest training images, curves and scores.

TARGET is a job's folder (also of a job that still runs), a package's folder, or a model in MLflow's registry: NAME (its champion),
NAME@alias or NAME/version. A model's curves come from its MLflow run; MLflow is found by MLFLOW_TRACKING_URI.

What needs the training data (nearest images, truncation scores, what a classifier sees) is left out, saying why, where they can't be
read; --data says where they are.

- `agon report runs/dcgan-digits --out report/ --open`
- `agon report demo@champion --out report/ --data shards/`"""

app = commandline.program()


@app.command(help=HELP, context_settings=commandline.CONTEXT)
def main(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A job's or package's folder, or a model's name.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html; made if it isn't there.")],
    data: Annotated[
        str | None, typer.Option(help="The training data (packed), if no longer where the spec says.")
    ] = None,
    held_out: Annotated[
        str | None, typer.Option(help="Packed data that were not trained on, to reconstruct with an encoder.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer images, as within a job: some 20 seconds.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    json_: Annotated[bool, typer.Option("--json", help='Print {"path": …, "target": …}.')] = False,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Packed builtin data and feature extractors.", show_default="$AGON_HOME/cache"),
    ] = None,
) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    where = Where(
        cache_dir=cache_dir or Path(os.environ.get("AGON_HOME", "~/.agon")).expanduser() / "cache",
        data=data,
        held_out=held_out,
        mlflow=os.environ.get("MLFLOW_TRACKING_URI"),
        effort=QUICK if quick else FULL,
    )
    try:
        path = make(target, out, where)
    except (ValueError, OSError, TrainingError, SpecError) as error:
        typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
        raise typer.Exit(1) from error
    typer.echo(json.dumps({"path": str(path), "target": target}) if json_ else str(path))
    if open_:
        webbrowser.open(path.resolve().as_uri())


def make(target: str, out: Path, where: Where) -> Path:
    """The report of a job's folder, a package or a model. Raises ValueError, TrainingError or OSError."""
    folder = Path(target)
    if is_job(folder):
        return write_report(from_job(folder, where), out)
    if folder.is_dir() and not is_package(folder):
        raise ValueError(f"{folder} is neither a job's folder (job.json) nor a package (config.json)")
    with package_of(target) as package:
        verify_checksums(package)
        name = None if folder.is_dir() else target
        return write_report(from_package(package, where, name), out)


if __name__ == "__main__":
    commandline.run(app, "trainer.report")
