"""agon report: a job's page from the API, or a model's page made here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from service.cli import children
from service.cli.jobs import find
from service.cli.output import Exit, fail, note, print_json, write_whole
from service.cli.specs import Json

FILE = "report.html"


def report(
    target: Annotated[
        str,
        typer.Argument(
            metavar="JOB|MODEL",
            help="A job's id or name (then the newest of that name); or a model: NAME, NAME@alias, NAME/version;"
            " or the folder of a job or a package.",
        ),
    ],
    out: Annotated[Path, typer.Option(help=f"Folder for {FILE}; made if it isn't there.")],
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    data: Annotated[
        str | None, typer.Option(help="For a model or folder: its training data, if no longer where its spec says.")
    ] = None,
    held_out: Annotated[
        str | None, typer.Option(help="For a model or folder: data not trained on, to reconstruct with an encoder.")
    ] = None,
    json_: Json = False,
) -> None:
    """Get a report: one HTML page, complete in itself, with samples, interpolations, nearest training images, curves, scores.

    A job writes its own report after evaluations and at its end; this fetches the newest. A model is pulled, and its
    report is made here (minutes), with more images; its curves come from its MLflow run. What needs the training data
    is left out, saying why, where they can't be read from here. A name that a job and a model share means the job:
    NAME@champion means the model.

    Examples:

    - `agon report dcgan-digits --out report/ --open`
    - `agon report j-0123456789 --out report/`
    - `agon report demo@champion --out report/`
    - `agon report runs/try --out report/` (of `agon train`)
    """
    options = [word for name, value in (("--data", data), ("--held-out", held_out)) if value for word in (name, value)]
    page = None if Path(target).is_dir() or set(target) & set("@/:") else _of_job(target, given=bool(options))
    if page is None:
        options += [flag for flag, wanted in (("--open", open_), ("--json", json_)) if wanted]
        _make_here(target, [target, "--out", str(out), *options])
        return
    path = out / FILE
    write_whole(path, page)
    if json_:
        print_json({"path": str(path), "target": target})
    else:
        typer.echo(str(path))
    if open_:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


def _of_job(target: str, *, given: bool) -> bytes | None:
    """The job's page; None if there is no such job, so that it may be a model."""
    from service.client import Client, NotConfigured, NotFound

    try:
        client = Client()
    except NotConfigured:
        if os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("AGON_MLFLOW_URI"):
            return None
        raise
    with client:
        try:
            job = find(client, target)
        except NotFound:
            note(f"no job is called {target}; looking for a model of that name")
            return None
        if given:
            text = f"{target} is a job, whose page is made; --data and --held-out go with a model or a folder"
            fail(text, Exit.USAGE)
        return client.report(job.id)


def _make_here(target: str, arguments: list[str]) -> None:
    """Run the trainer's own command in this process's place."""
    env = dict(os.environ)
    if not env.get("MLFLOW_TRACKING_URI"):
        uri = children.known_tracking_uri() if Path(target).is_dir() else children.tracking_uri()
        if uri:
            env["MLFLOW_TRACKING_URI"] = uri
    children.become("agon report", "trainer.report", arguments, env)
