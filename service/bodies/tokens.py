"""Bodies of the tokens' and the browser sessions' endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from service.bodies.base import Reply, Request
from trainer.spec.limits import Seconds, seconds_of

PERSON = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
Role = Literal["admin", "user", "viewer"]
MOST_OVERLAP = 30 * 86_400.0
_Overlap = Annotated[float, Field(ge=0.0, le=MOST_OVERLAP)]
Overlap = Annotated[_Overlap, BeforeValidator(seconds_of, json_schema_input_type=_Overlap | str)]


class _Expiring(Request):
    expires_in: Seconds | None = None
    """So long from now on: seconds, or text such as `30d`."""
    expires_at: AwareDatetime | None = None
    """In place of it: a time with its zone."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.expires_in is not None and self.expires_at is not None:
            raise ValueError("expires_in and expires_at say the same; leave one out")
        return self


class TokenRequest(_Expiring):
    """A token to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ada", "scope": "user", "expires_in": "90d"}]})

    name: Annotated[str, Field(pattern=PERSON)]
    scope: Role = "user"
    """What it may do; at most what its owner's role lets it."""
    owner: Annotated[str, Field(pattern=PERSON)] | None = None
    """The person whose it is; null: of an administrator's request its name, else whoever asks. Several tokens may be one's, whose
    runs count together."""


class Rotation(_Expiring):
    """Another secret for a token. Without an expiry it has the one that it had."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap": "1h"}]})

    overlap: Overlap = 3600.0
    """How long the secret that is replaced works on; 0: not at all."""


class Token(Reply):
    """A person's token, without its secret."""

    id: str
    name: str
    owner: str = ""
    """The person whose it is: runs that are submitted with it are theirs."""
    scope: str
    created_at: datetime
    expires_at: datetime | None = None
    """From then on it is refused; null: never."""
    used_at: datetime | None = None
    """When it was last used, to about a minute; null: never, as far as is known."""
    rotated_at: datetime | None = None
    """When its secret was last replaced."""
    old_until: datetime | None = None
    """The secret that was replaced works until then."""


class NewToken(Token):
    """A token that was just made, or has another secret since just now."""

    token: str
    """The secret; it is shown this once."""


class SessionRequest(Request):
    """A login, where a form can't send the header `Authorization`."""

    token: Annotated[SecretStr, Field(min_length=1, max_length=200)]


class Who(Reply):
    """Who asks, and what they may do."""

    owner: str
    """The person."""
    name: str
    """Of the token."""
    scope: str
    """What they may do: admin, user or viewer."""
    by: str
    """How they said who they are: a `token`, a browser `session`, or a `proxy`."""
    expires_at: datetime | None = None
    """When that ends; null: never."""
