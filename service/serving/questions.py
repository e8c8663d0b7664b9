"""What all questions to models have in common: which version is meant, the tag of the answer, the answer, what is counted.

The same question to the same version has the same bytes as its answer, so its tag is known before anything is computed. What is
computed in another type, or on another kind of processor, may differ in its last bits and has another tag.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from service import tallies
from service.access.callers import Away
from service.context import Ctx
from service.errors import Invalid, Late, NotFound, TooMany, Unavailable
from service.etags import ASK, FOREVER, LENGTH, IfNoneMatch, matches
from service.models.routes import Name
from service.serving.asker import Asker
from service.serving.versions import Asked, Versions
from service.settings import Settings
from trainer.schema import Frozen
from trainer.serve.wire import FORMAT, MODEL_HEADER, MODELS, SEARCHED_HEADER, VERSION_HEADER, ModelId
from trainer.spec import FieldError

TYPES = (
    "image/png",
    "image/webp",
    "image/gif",
    "video/mp4",
    "application/zip",
    "application/x-npz",
    "application/json",
)
"""Of an answer; what says that it is another is not believed."""
OUTCOMES = {Invalid: "refused", NotFound: "refused", TooMany: "full", Unavailable: "away", Late: "late"}
AsVersion = Annotated[str | None, Query(pattern=r"^[1-9]\d{0,8}$", description="Of the model; or an alias.")]
AsAlias = Annotated[
    str | None,
    Query(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,99}$", description="That points at the version. Left out: `champion`."),
]
IMAGES: dict[int | str, dict[str, Any]] = {
    200: {"content": {name: {} for name in TYPES}, "description": "What was asked for, as `form` says."},
    304: {"description": "It is what that ETag stands for; nothing was computed."},
}
"""What these endpoints answer, for the OpenAPI document."""


def asked(name: Name, version: AsVersion = None, alias: AsAlias = None) -> Asked:
    """Which version of a model. Raises Invalid."""
    if version is not None and alias is not None:
        fix = "leave one of them out"
        raise Invalid(
            [FieldError(path="alias", message="version says already which one is meant", value=alias, fix=fix)]
        )
    return Asked(name, version, alias)


class Door:
    """Of one request."""

    def __init__(
        self, ctx: Ctx, errand: Away, model: Annotated[Asked, Depends(asked)], if_none_match: IfNoneMatch = None
    ) -> None:
        self._ctx, self._errand, self._model, self._known = ctx, errand, model, if_none_match

    async def ask(self, kind: str, question: Frozen) -> Response:
        """The answer, or 304. Raises Problem."""
        with counted(kind) as outcome:
            response = await self._ask(kind, question)
            outcome[0] = "unchanged" if response.status_code == 304 else "answered"
            return response

    async def _ask(self, kind: str, question: Frozen) -> Response:
        model = await self._ctx.of(Versions).find(self._model, self._ctx, self._errand)
        body = question.model_dump_json().encode()
        headers = {
            "ETag": tag(kind, model, body, self._ctx.settings),
            "Cache-Control": ASK if self._model.version is None else FOREVER,
            "Vary": "Authorization, Cookie",
            VERSION_HEADER.title(): model.release,
        }
        if matches(self._known, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        asker = self._ctx.of(Asker)
        answer = await asker.ask(MODELS, f"/{MODELS}/{kind}", body, {MODEL_HEADER: str(model)}, self._errand)
        if searched := answer.headers.get(SEARCHED_HEADER):
            headers[SEARCHED_HEADER.title()] = searched[:50]
        given = answer.headers.get("content-type", "").partition(";")[0].strip()
        return Response(
            answer.content, media_type=given if given in TYPES else "application/octet-stream", headers=headers
        )


def tag(kind: str, model: ModelId, body: bytes, settings: Settings) -> str:
    """Of the answer, in its quotes. body: the question with all its fields, as it is handed on."""
    facts = [FORMAT, kind, str(model), settings.serve_dtype, "gpu" if settings.serve_gpus else "cpu"]
    digest = hashlib.sha256(json.dumps(facts).encode() + b"\n" + body).hexdigest()
    return f'"{digest[: 2 * LENGTH]}"'


@contextmanager
def counted(kind: str) -> Iterator[list[str]]:
    """One question, for Prometheus; what it gives says how it ended well."""
    began, outcome = time.perf_counter(), [""]
    try:
        yield outcome
    except ClientDisconnect:
        outcome[0] = "gone"
        raise
    except Exception as error:
        outcome[0] = OUTCOMES.get(type(error), "failed")
        raise
    finally:
        tallies.QUESTIONS.labels(kind, outcome[0] or "gone").observe(time.perf_counter() - began)


def read(kind: type[Frozen], request: Request, **values: Any) -> Any:
    """A question that stands in a URL. Raises Invalid."""
    given = {name: value for name, value in values.items() if name in request.query_params}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise Invalid(
            [
                FieldError(path=".".join(map(str, item["loc"])), message=item["msg"].removeprefix("Value error, "))
                for item in error.errors(include_url=False, include_context=False, include_input=False)
            ],
            "question",
        ) from error
