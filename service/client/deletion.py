"""Calls that delete."""

from __future__ import annotations

from service.bodies.deletion import Deleted
from service.client.base import Calls, part


class DeletionCalls(Calls):
    """Part of `Client`."""

    def delete(self, job: str, *, mlflow: bool = False) -> tuple[str, ...]:
        """Delete a job that has ended, with its folder; `mlflow`: and its records there. What could not be removed yet, if anything.

        Raises NotFound; Conflict if it has not ended, has pinned checkpoints, or a version of a model stands on its records;
        Forbidden if it is somebody else's.
        """
        return self._delete(f"/v1/jobs/{part(job)}", mlflow)

    def delete_search(self, search: str, *, mlflow: bool = False) -> tuple[str, ...]:
        """The same of a search and its trials."""
        return self._delete(f"/v1/searches/{part(search)}", mlflow)

    def _delete(self, path: str, mlflow: bool) -> tuple[str, ...]:
        params = {"mlflow": "true"} if mlflow else None
        reply = self._connection.call("DELETE", path, params=params, timeout=DELETE_SECONDS)
        return Deleted.model_validate_json(reply.content).left if reply.status_code == 202 else ()


DELETE_SECONDS = 60.0
"""For the answer: the API looks at MLflow and removes files before it."""
