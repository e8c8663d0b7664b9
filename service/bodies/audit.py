"""Bodies of the audit: who changed what, and who was refused a change."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from service.bodies.base import Reply


class AuditEntry(Reply):
    """One change, or refusals of one that are alike."""

    id: int
    time: datetime
    """When it was asked for; of several refusals the last."""
    owner: str = ""
    """The person; empty: the token isn't known here."""
    token: str = ""
    """Id of the token, never its secret."""
    token_name: str = ""
    role: str = ""
    """What the token might do then."""
    request_id: str = ""
    """As in the answer's `X-Request-Id` and in the logs."""
    action: str
    """`job.pause`: a kind of thing and what is done to it; `authenticate`: a token was refused."""
    kind: str = ""
    """Of the target."""
    target: str = ""
    """Its id or name; a search's trial is `SEARCH/TRIAL`, a checkpoint `…/STEP`."""
    outcome: str
    """`done`; `refused`: nothing changed; `failed`: the server could not, and what it began may be done; `begun`: the process ended
    before it answered."""
    status: int | None = None
    """Of the answer."""
    peer: str = ""
    """Address that the request came from: the proxy's, if there is one that the API isn't told to trust."""
    count: int = 1
    """So many refusals that are alike, within a minute."""
    detail: dict[str, Any] = Field(default_factory=dict)
    """`fields` that were sent, and the `values` of a few of them; never a secret or a whole body."""
