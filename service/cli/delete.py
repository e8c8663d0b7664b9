"""agon delete: what has ended and nobody needs."""

from __future__ import annotations

from service.cli.arguments import WithMlflow, Yes, connect
from service.cli.jobs import JobArgument, find
from service.cli.sure import sure, told


def delete(job: JobArgument, mlflow: WithMlflow = False, yes: Yes = False) -> None:
    """Delete a job that has ended: its checkpoints, samples, events, logs and report. On a terminal it asks first.

    What it registered stays, and jobs that were forked from it keep what they began with. Refused while it has pinned checkpoints.
    Exit code 4 if it has not ended (`agon cancel` ends it), or is somebody else's.

    Examples:

    - `agon delete j-0123456789ab`
    - `agon delete dcgan-digits --mlflow --yes`
    """
    from service.client import NotFound

    with connect() as client:
        try:
            found = find(client, job)
        except NotFound:  # unless something of it is left
            told(f"job {job}", client.delete(job))
            return
        sure(f"job {found.id} ({found.name})", mlflow, yes)
        told(f"job {found.id}", client.delete(found.id, mlflow=mlflow))
