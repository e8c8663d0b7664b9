"""Bodies of the webhooks' endpoints."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from service.bodies.base import Reply, Request, Tagged, or_new
from service.bodies.owners import OWNER

Url = Annotated[str, Field(min_length=1, max_length=2000)]
Pattern = Annotated[str, Field(min_length=1, max_length=40)]
Patterns = Annotated[list[Pattern], Field(min_length=1, max_length=40)]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")]
RunLabels = Annotated[dict[LabelName, LabelValue], Field(max_length=8)]
Description = Annotated[str, Field(max_length=500)]
EXAMPLE: dict[str, JsonValue] = {
    "url": "https://hooks.example.com/agon",
    "events": ["job.succeeded", "job.failed", "model.*"],
}


class Outcome(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"  # it is sent, or will be
    DELIVERED = "delivered"  # the receiver answered 2xx
    FAILED = "failed"  # no further attempt is made, unless somebody replays it


class WebhookRequest(Request):
    """A webhook to add."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    url: Url
    """Where messages are posted: `https`, on a public address."""
    events: Patterns = Field(default=["*"])
    """Types of what is told, and patterns: `job.failed`, `search.*`, `*`."""
    runs_of: Annotated[str, Field(pattern=OWNER)] | None = None
    """The person of whose runs it hears; null: whose webhook it is. Administrators may name others, and `*` for everybody."""
    labels: RunLabels = Field(default_factory=dict)
    """Only of runs that have all of these labels."""
    description: Description = ""


class WebhookEdit(Request):
    """What shall change of a webhook; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": ["*"]}, {"enabled": True}]})

    url: Url | None = None
    events: Patterns | None = None
    labels: RunLabels | None = None
    """In place of those that there are."""
    description: Description | None = None
    enabled: bool | None = None
    """False: nothing is sent, and what waited has failed. True: it hears of what happens from then on."""


class Webhook(Tagged):
    """Where somebody is told of what happens."""

    id: str
    owner: str
    """Whose it is."""
    url: str
    events: tuple[str, ...]
    runs_of: str
    """The person of whose runs it hears; `*`: everybody."""
    labels: dict[str, str]
    description: str
    enabled: bool
    reason: str
    """Why it was switched off, unless somebody did that."""
    held: str = ""
    """Why nothing is sent though it is on: its owner may not hear it now. It goes on by itself; empty: it isn't held."""
    failing_since: datetime | None
    """No attempt has succeeded since the one of that time; null: the last one did, or none was made."""
    created_at: datetime


class NewWebhook(Webhook):
    """A webhook that was just added, or has a new secret."""

    secret: str
    """Signs its messages; it is shown this once."""


class Delivery(Reply):
    """One message for a webhook."""

    id: str
    """The `webhook-id`, the same at each attempt."""
    type: str
    run: str
    """Of which it tells; empty: of none."""
    outcome: Annotated[Outcome, or_new(Outcome)]
    attempts: int
    """Made so far, since it was replayed if it was."""
    status: int | None
    """HTTP status of the last answer; null: there was none."""
    error: str
    """Why the last attempt failed."""
    told_at: datetime
    """When it happened."""
    sent_at: datetime | None
    """When the last attempt ended."""
    next_at: datetime | None
    """When the next one is made; null: none will be."""


class DeliveryDetail(Delivery):
    """One message with what it says."""

    body: str
    """Byte for byte as it is sent."""


class ReplayRequest(Request):
    """What shall be sent again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"since": "2026-11-01T00:00:00Z"}]})

    since: datetime
    """All that happened from then on and has not arrived, also what it didn't hear of while it was switched off."""
    delivered: bool = False
    """Also what has arrived."""


class Replayed(Reply):
    """What a replay will send."""

    again: int
    """Deliveries that are sent again. What has not been one yet follows."""
