"""The search's own MLflow run, which its trials' runs are nested in. A server that is away costs the nesting, not the search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import tracking
from trainer.launch.tune.progress import replace_text
from trainer.wire import SearchFile

if TYPE_CHECKING:
    from trainer.launch.tune.found import Found

RUN_FILE = "mlflow.run"


def begin(file: SearchFile, warn: Callable[[str], None]) -> str | None:
    """The id of the search's run: made at the first attempt, kept in the folder, where trials find it."""
    path = Path(file.job_dir) / RUN_FILE
    if file.mlflow_uri is None:
        return None
    try:
        client, known = tracking.client(file.mlflow_uri), path.exists()
        run = path.read_text() if known else tracking.search_run(file)
        if known:
            client.update_run(run, status="RUNNING")
        tracking.note(client, run, file)
    except Exception as error:  # requests', MLflow's: whatever keeps the server away
        warn(f"MLflow is away, so the search's own run is not told there: {error}")
        return path.read_text() if path.exists() else None
    replace_text(path, run)
    return run


def end(file: SearchFile, run: str | None, found: Found, warn: Callable[[str], None]) -> None:
    """The best score and where it came from; the run's status."""
    if run is None or file.mlflow_uri is None:
        return
    try:
        client = tracking.client(file.mlflow_uri)
        if found.best is not None and found.best.score is not None:
            client.log_metric(run, f"best/{file.spec.metric}", found.best.score, step=len(found.trials))
            client.set_tag(run, "agon.best_trial", found.best.id)
        client.log_metric(run, "images", float(sum(trial.images for trial in found.trials)), step=len(found.trials))
        report = Path(file.job_dir) / "report.html"
        if report.is_file():
            client.log_artifact(run, str(report))
        client.set_terminated(run, "FINISHED" if found.finished else "KILLED")
    except Exception as error:
        warn(f"MLflow is away, so the search's own run is not complete there: {error}")
