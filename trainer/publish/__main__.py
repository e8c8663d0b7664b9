"""`python -m trainer.publish`: pull models, draw samples, register a package that waits. `agon pull|sample` run this."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from trainer.errors import TrainingError
from trainer.images import grid, save_png
from trainer.publish.package import verify_checksums
from trainer.publish.portable.generator import Generator
from trainer.publish.publisher import FOLDER
from trainer.publish.pull import package_of
from trainer.publish.pull import pull as pull_model
from trainer.publish.registry import register as register_package
from trainer.wire import JOB_FILE, JobFile

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Published models: pull, sample, register.")

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="NAME (its champion), NAME@alias or NAME/version in MLflow's model registry."),
]
Json = Annotated[bool, typer.Option("--json", help='Print {"path": …, "model": …}.')]


@app.command()
def pull(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    json_: Json = False,
) -> None:
    """Download a model and verify its checksums.

    The folder is complete: generator.py in it samples with torch, numpy and safetensors alone, and
    mlflow.pyfunc.load_model(OUT) loads it too. MLflow is found by MLFLOW_TRACKING_URI.

    Example: python -m trainer.publish pull demo@champion ./demo
    """
    with _said():
        _print(pull_model(model, out), model, json_)


@app.command()
def sample(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="NAME, NAME@alias, NAME/version, or a package's folder.")
    ],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of images.")] = 64,
    labels: Annotated[
        str | None,
        typer.Option(help="Classes, one per row of the picture: '0,1,2', or 'balanced' for all. Default: random."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same images.")] = 0,
    truncation: Annotated[
        float | None,
        typer.Option(help="Draw coordinates of z outside ±this again: fewer kinds, each better. Normal priors only."),
    ] = None,
    json_: Json = False,
) -> None:
    """Draw images of a model as one picture.

    Example: python -m trainer.publish sample demo -n 80 --labels balanced --out grid.png
    """
    with _said(), package_of(model) as folder:
        verify_checksums(folder)
        generator = Generator(folder)
        rows = chosen_labels(labels, generator.config["classes"])
        columns = math.ceil(n / len(rows)) if rows else math.ceil(math.sqrt(n))
        wanted = (np.repeat(rows, columns)[:n]).tolist() if rows else None
        images = generator.sample(n=n, seed=seed, labels=wanted, truncation=truncation)
        save_png(out, grid(images, columns))
        _print(out, model, json_)


@app.command()
def register(
    job_dir: Annotated[Path, typer.Argument(help="The job's folder, with job.json and model/.")],
) -> None:
    """Register a finished job's package that MLflow was not there to take.

    Does what the job would have done: a version with its tags, and the gate. A second time changes nothing.
    """
    with _said():
        job = JobFile.model_validate_json((job_dir / JOB_FILE).read_text())
        verify_checksums(job_dir / FOLDER)
        done = register_package(job, job_dir / FOLDER)
        typer.echo(f"version {done.version}: {done.verdict}")


def chosen_labels(labels: str | None, classes: int) -> list[int]:
    """Classes of the picture's rows; empty for random labels. Raises ValueError for what isn't a list of numbers."""
    if labels is None:
        return []
    if labels == "balanced" and classes:
        return list(range(classes))
    try:
        return [int(label) for label in labels.split(",")]
    except ValueError:
        raise ValueError(f"labels is {labels!r}; give numbers such as 0,1,2, or 'balanced'") from None


def _print(path: Path, model: str, as_json: bool) -> None:
    typer.echo(json.dumps({"path": str(path), "model": model}) if as_json else str(path))


class _said:  # noqa: N801 — reads as a phrase
    """Errors that a person can act on end the command with their message alone."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, OSError, TrainingError)):
            typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
            raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
