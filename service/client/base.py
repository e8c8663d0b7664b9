"""What every group of calls stands on: a connection, and answers read as models."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from service.client.connection import Connection
from service.client.errors import UnreadableReply

SUBMIT_SECONDS = 60.0
"""For the answer to a submission: before it the API may read a manifest, ask Ray and make a plan."""
R = TypeVar("R", bound=BaseModel)


class Calls:
    """Calls over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _read(self, model: type[R], method: str, path: str, **call: Any) -> R:
        response = self._connection.call(method, path, **call)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise UnreadableReply(
                f"{method} {path} answered something this client does not know ({error.errors()[0]['msg']} at"
                f" {'.'.join(map(str, error.errors()[0]['loc']))}); client and server may differ in version"
            ) from error


def part(text: str) -> str:
    """A path segment; a slash in it must not lead to another resource."""
    return quote(text, safe="")
