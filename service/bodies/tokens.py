"""Bodies of the tokens' endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from service.bodies.base import Reply, Request

PERSON = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"


class TokenRequest(Request):
    """A token to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ada", "scope": "user"}]})

    name: Annotated[str, Field(pattern=PERSON)]
    scope: Literal["admin", "user"] = "user"
    owner: Annotated[str, Field(pattern=PERSON)] | None = None
    """The person whose it is; null: its name. Several tokens may be one's, whose runs count together."""


class Token(Reply):
    """A person's token, without its secret."""

    id: str
    name: str
    owner: str = ""
    """The person whose it is: runs that are submitted with it are theirs."""
    scope: str
    created_at: datetime


class NewToken(Token):
    """A token that was just made."""

    token: str
    """The secret; it is shown this once."""
