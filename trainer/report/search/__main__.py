"""`python -m trainer.report.search SEARCH_FOLDER --out DIR`: the page of a search, as far as it has come."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from trainer import commandline
from trainer.report.search import write_search_report
from trainer.search.trial import read_trials
from trainer.wire import SearchFile

SEARCH_FILE = "search.json"
app = commandline.program()


@app.command(context_settings=commandline.CONTEXT)
def main(
    folder: Annotated[Path, typer.Argument(metavar="SEARCH_FOLDER", help="Folder with search.json and trials/.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html; made if it isn't there.")],
) -> None:
    """Make a search's report: one HTML page with its best trials, scores, importance of the fields and failures."""
    try:
        file = SearchFile.model_validate_json((folder / SEARCH_FILE).read_bytes())
        known = file.job_id if file.api_url else None
        path = write_search_report(file.spec, read_trials(folder), out, search_id=known, source=folder)
    except (ValidationError, OSError) as error:
        hint = f"{folder} is no search's folder, or not of this version" if isinstance(error, ValidationError) else ""
        typer.secho(f"error: {f'{hint}: ' if hint else ''}{error}", err=True, fg=typer.colors.RED)
        raise typer.Exit(1) from error
    typer.echo(str(path))


if __name__ == "__main__":
    commandline.run(app, "trainer.report.search")
