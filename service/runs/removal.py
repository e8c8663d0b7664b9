"""What the endpoints of jobs and of searches do alike when one is to be deleted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from starlette.concurrency import run_in_threadpool

from service.bodies.deletion import Deleted
from service.context import Context
from service.db.tables import Deletion
from service.elsewhere import Errand
from service.errors import Conflict, Invalid, Unavailable
from service.gateway.registry import Registry, RegistryMissingError, RegistryRefusedError, RegistryUnreachableError
from service.runs import deletion, store
from service.runs.kinds import Kind
from trainer.spec import FieldError

WithMlflow = Annotated[
    bool,
    Query(
        description="Also its records in MLflow with their artifacts. 409 if a version of a model stands on one of them."
    ),
]
ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"description": "It is deleted; something of it is left for now.", "model": Deleted},
    204: {"description": "It is deleted, and nothing of it is left."},
}
"""What such an endpoint answers, for the OpenAPI document."""


async def delete(ctx: Context, errand: Errand, kind: Kind, run_id: str, mlflow: bool) -> Response:
    """Delete a run that has ended. Raises NotFound, Conflict, Invalid, Unavailable.

    One whose deletion broke off is gone on with.
    """
    record = await run_in_threadpool(_look, ctx, kind, run_id)
    if mlflow and record is not None:
        await _check_versions(ctx, errand, record, kind, run_id)
    left_over = await run_in_threadpool(_begin, ctx, kind, run_id, mlflow)
    try:
        left = await ctx.elsewhere.removals.run(
            deletion.finish, ctx.db, ctx.settings, ctx.registry, left_over, errand=Errand(errand.caller)
        )
    except Unavailable as error:
        left = [error.detail]
    if not left:
        return Response(status_code=204)
    body = Deleted(id=run_id, left=tuple(left))
    return Response(body.model_dump_json(), status_code=202, media_type="application/json")


def _look(ctx: Context, kind: Kind, run_id: str) -> str | None:
    """The record in MLflow that it has. Raises Conflict for one that may not be deleted."""
    with ctx.db.read() as session:
        if _begun(session, kind, run_id) is not None:
            return None
        job = store.get(session, run_id, kind)
        deletion.check(ctx.settings, job)
        return job.mlflow_run_id


def _begun(session: Any, kind: Kind, run_id: str) -> Deletion | None:
    found: Deletion | None = session.get(Deletion, run_id)
    return found if found is not None and found.kind == kind.name else None


def _begin(ctx: Context, kind: Kind, run_id: str, mlflow: bool) -> Deletion:
    with ctx.db.begin() as session:
        if (begun := _begun(session, kind, run_id)) is not None:
            return begun
        job = store.get(session, run_id, kind, lock=True)
        number, found = job.number, deletion.begin(session, ctx.settings, job, mlflow=mlflow)
    ctx.tell(number)
    return found


async def _check_versions(ctx: Context, errand: Errand, record: str, kind: Kind, run_id: str) -> None:
    """Raise Conflict that names the versions which stand on the run's records."""
    registry = ctx.registry
    if registry is None:
        fix = "delete it without mlflow, or set AGON_MLFLOW_URI"
        raise Invalid([FieldError(path="mlflow", message="no MLflow is configured", value="true", fix=fix)])

    def ask(registry: Registry) -> list[str]:
        found = registry.standing_on(registry.records(record, run_id))
        return sorted({f"{standing.model} version {standing.version}" for standing in found})

    try:
        standing = await ctx.elsewhere.mlflow.run(ask, registry, errand=errand)
    except (RegistryUnreachableError, RegistryRefusedError, RegistryMissingError) as error:
        raise Unavailable(f"{error}; without mlflow it can be deleted now") from error
    if standing:
        raise Conflict(
            f"{kind.name} {run_id} has the files of {', '.join(standing)} in MLflow; delete "
            f"{'that version' if len(standing) == 1 else 'those versions'} there first, or delete the {kind.name} without mlflow"
        )
