"""What every group of calls stands on: a connection, and answers read as models."""

from __future__ import annotations

from collections.abc import Mapping
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
            return model.model_validate_json(response.content, extra="allow")  # a newer server may say more
        except ValidationError as error:
            raise UnreadableReply(
                f"{method} {path} answered something this client does not know ({error.errors()[0]['msg']} at"
                f" {'.'.join(map(str, error.errors()[0]['loc']))}); client and server may differ in version"
            ) from error


def label_words(labels: Mapping[str, str] | None) -> list[str]:
    """As the API takes them in a query: `team=vision`."""
    return [f"{name}={value}" for name, value in (labels or {}).items()]


def only_if(etag: str | None) -> dict[str, str]:
    """The headers of a change to what must be as it was with that `etag`; None: whatever it is."""
    return {} if etag is None else {"If-Match": etag}


def part(text: str) -> str:
    """A path segment; a slash in it must not lead to another resource."""
    return quote(text, safe="")
