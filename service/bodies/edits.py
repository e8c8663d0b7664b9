"""Bodies of edits."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from service.bodies.base import Request


class Edit(Request):
    """What shall change of a job that there is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"set": {"labels": {"team": "vision", "draft": None}, "notes": "the one for the paper"}},
                {"set": {"resources.workers": 4, "queue": {"priority": 80}}},
            ]
        }
    )

    set: Annotated[dict[str, JsonValue], Field(min_length=1, max_length=200)]
    """Fields of its spec by dotted path or nested mapping, as in `POST /v1/jobs`; null takes a label out."""


class SearchEdit(Edit):
    """What shall change of a search that there is."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"set": {"notes": "wider", "max_concurrent": 8, "base.resources.workers": 2}}]}
    )
