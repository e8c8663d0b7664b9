"""`python -m trainer.publish`: pull models, draw samples, import those of others, register a package that waits.

`agon pull|sample|import` run this.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from trainer import commandline
from trainer.checksums import verify_checksums
from trainer.publish.biggan_pytorch import import_package
from trainer.publish.publisher import FOLDER
from trainer.publish.pull import pull as pull_model
from trainer.publish.registry import register as register_package
from trainer.publish.sample import sample
from trainer.publish.terminal import Json, note, said
from trainer.wire import JOB_FILE, JobFile

app = commandline.program(no_args_is_help=True, help="Published models: pull, sample, import, register.")

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="NAME (its champion), NAME@alias or NAME/version in MLflow's model registry."),
]


@app.command()
def pull(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    json_: Json = False,
) -> None:
    """Download a model and verify its checksums.

    The folder is complete: generator.py in it samples with torch, numpy and safetensors alone, and
    mlflow.pyfunc.load_model(OUT) loads it too. MLflow is found by MLFLOW_TRACKING_URI.

    Example: `agon pull demo@champion ./demo`
    """
    with said():
        _print(pull_model(model, out), model, json_)


app.command()(sample)


@app.command()
def register(
    job_dir: Annotated[Path, typer.Argument(help="The job's folder, with job.json and model/.")],
) -> None:
    """Register a finished job's package that MLflow was not there to take.

    Does what the job would have done: a version with its tags, and the gate. A second time changes nothing.
    MLflow is that of MLFLOW_TRACKING_URI where it is set, otherwise the job's own.
    """
    with said():
        job = JobFile.model_validate_json((job_dir / JOB_FILE).read_text())
        if uri := os.environ.get("MLFLOW_TRACKING_URI"):  # the job's MLflow may have come back at another address
            job = job.model_copy(update={"mlflow_uri": uri})
        verify_checksums(job_dir / FOLDER)
        done = register_package(job, job_dir / FOLDER)
        typer.echo(f"version {done.version}: {done.verdict}")


imports = commandline.program(no_args_is_help=True, help="Make a package of a generator that other code has trained.")
app.add_typer(imports, name="import")


@imports.callback()
def _kinds() -> None:
    """Make a package of a generator that other code has trained."""


@imports.command("biggan-pytorch")
def biggan_pytorch(
    file: Annotated[Path, typer.Argument(help="G.pth or G_ema.pth, as the authors' code saves them.")],
    out: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    name: Annotated[
        str, typer.Option(help="The model's name: lower-case letters, digits and hyphens.")
    ] = "biggan-imported",
    norm_eps: Annotated[
        float | None,
        typer.Option(
            min=1e-12,
            max=1e-2,
            help="The training's --BN_eps, which the file doesn't tell; left out: 1e-5, or 1e-4 for a converted TF-Hub model.",
        ),
    ] = None,
    discriminator: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The D.pth beside it, to be kept in the package; left out: the package has no D."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """A generator of the authors' BigGAN-PyTorch code, BigGAN or BigGAN-deep.

    The file is read as tensors alone: nothing in it is run. What its net is, its names and shapes say; a file that
    differs is refused with the list of differences. Taken are G.pth and G_ema.pth of train.py, with any of its batch norms
    (plain, --mybn, --cross_replica), and the TF-Hub models of converter.py; also as a state_dict entry of a checkpoint, or
    with module. before the names. Not taken: optimisers, group norm, nets of other code. `agon sample OUT` then draws images.

    With --discriminator the package also holds D, which docs/models.md says how to load. It must be that of this G: of the
    same resolution, classes, depth and attention.

    Example: `agon import biggan-pytorch G_ema.pth ./biggan`

    Example: `agon import biggan-pytorch G_ema.pth ./biggan --discriminator D.pth`
    """
    with said():
        if out.exists():
            raise ValueError(f"{out} exists; name a folder that doesn't")
        made, notes = import_package(file, out, name, norm_eps, discriminator)
        for text in notes:
            note(text)
        _print(made, name, json_)


def _print(path: Path, model: str, as_json: bool) -> None:
    typer.echo(json.dumps({"path": str(path), "model": model}) if as_json else str(path))


if __name__ == "__main__":
    commandline.run(app, "trainer.publish")
