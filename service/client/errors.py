# ruff: noqa: N818 — the names say what happened; the tree below says that they are errors
"""What a call can raise.

ClientError
├── NotConfigured        no URL or no token: nothing was sent
├── Unreachable          no answer, also after trying again
├── UnreadableReply      an answer that is not Agon's (another program on that port, a proxy's error page)
├── JobFailed            `wait(check=True)`: the job ended as failed or cancelled; `.job`
└── ApiError             the API refused; `.status`, `.title`, `.detail`, `.errors` (wrong fields), `.request_id`
    ├── BadRequest       400
    ├── Unauthenticated  401
    ├── Forbidden        403
    ├── NotFound         404
    ├── Conflict         409
    ├── Changed          412  someone has changed it since it had that etag
    ├── TooLarge         413
    ├── Invalid          422  `.errors` names every wrong field, what is wrong with it and the fix
    └── Unavailable      503  Ray, MLflow or the database is away
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from pydantic import ValidationError

from trainer.spec import FieldError

if TYPE_CHECKING:
    from service.bodies.jobs import Job


class ClientError(Exception):
    """Base of all errors of the client."""


class NotConfigured(ClientError):
    """It is not known where the API is, or there is no token for it."""


class Unreachable(ClientError):
    """The API gave no answer."""

    def __init__(self, url: str, cause: Exception, *, proxied: bool = False) -> None:
        self.url = url
        what = str(cause) or type(cause).__name__
        what += ", asked through the environment's proxy; NO_PROXY with its host goes around it" if proxied else ""
        super().__init__(f"no answer from the API at {url} ({what}); is it up? `agon status`, `agon up`")


class UnreadableReply(ClientError):
    """The answer is not Agon's."""


class JobFailed(ClientError):
    """A job that was waited for did not succeed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        why = f": {job.failure.reason}" if job.failure else f": {job.reason}" if job.reason else ""
        super().__init__(f"job {job.id} {job.state}{why}")


class ApiError(ClientError):
    """The API refused; a problem document (RFC 9457)."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        errors: list[FieldError],
        request_id: str = "",
        method: str = "",
    ) -> None:
        self.status, self.title, self.detail, self.errors, self.request_id = status, title, detail, errors, request_id
        self.method = method  # of the request
        super().__init__(detail or title)


class BadRequest(ApiError):
    """400: the request can't be read."""


class Unauthenticated(ApiError):
    """401: no token, or an unknown one."""


class Forbidden(ApiError):
    """403: the token may not do this."""


class NotFound(ApiError):
    """404: no such thing."""


class Conflict(ApiError):
    """409: its state, or another thing of that name, forbids it."""


class Changed(ApiError):
    """412: someone has changed it since it had the etag that was given as `if_match`."""


class TooLarge(ApiError):
    """413: the body is too large."""


class Invalid(ApiError):
    """422: fields are wrong."""


class Unavailable(ApiError):
    """503: a part that the call needs is away."""


BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest, 401: Unauthenticated, 403: Forbidden, 404: NotFound,
    409: Conflict, 412: Changed, 413: TooLarge, 422: Invalid, 503: Unavailable,
}  # fmt: skip


def from_response(response: httpx.Response) -> ClientError:
    """The exception for an answer with an error status. The body has been read."""
    document = _document(response)
    if document is None:
        start = " ".join(response.text.split())[:120]
        return UnreadableReply(
            f"{response.request.method} {response.request.url} answered {response.status_code} and not as Agon does"
            f" ({start!r}); is AGON_URL right?"
        )
    try:
        fields = [FieldError.model_validate(item) for item in document.get("errors") or []]
    except ValidationError:
        fields = []
    return BY_STATUS.get(response.status_code, ApiError)(
        response.status_code,
        str(document.get("title", "")),
        str(document.get("detail", "")),
        fields,
        str(document.get("request_id", "")),
        response.request.method,
    )


def _document(response: httpx.Response) -> dict[str, Any] | None:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        found = response.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) and "title" in found else None
