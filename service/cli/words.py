"""What the API says, in the words of the command line: endpoints become verbs, parameters of a request become options."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from service.client import ApiError, Unauthenticated
from trainer.spec import FieldError

VERBS: dict[str, str | None] = {
    "POST /v1/jobs": "agon submit",
    "GET /v1/jobs": "agon jobs",
    "GET /v1/jobs/{}": "agon show {}",
    "POST /v1/jobs/{}/cancel": "agon cancel {}",
    "POST /v1/jobs/{}/retry": "agon retry {}",
    "GET /v1/jobs/{}/events": "agon events {}",
    "GET /v1/jobs/{}/logs": "agon logs {}",
    "GET /v1/jobs/{}/report": "agon report {} --out DIR",
    "GET /v1/jobs/{}/samples": None,
    "POST /v1/validate": "agon validate",
    "POST /v1/plans": "agon plan",
    "GET /v1/recipes": "agon recipes",
    "GET /v1/recipes/{}": "agon init {}",
    "POST /v1/searches": "agon search submit",
    "GET /v1/searches": "agon search list",
    "POST /v1/searches/validate": "agon search validate",
    "GET /v1/searches/{}": "agon search show {}",
    "POST /v1/searches/{}/cancel": "agon search cancel {}",
    "POST /v1/searches/{}/pause": "agon search pause {}",
    "POST /v1/searches/{}/resume": "agon search resume {}",
    "POST /v1/searches/{}/extend": "agon search extend {}",
    "GET /v1/searches/{}/trials": "agon search trials {}",
    "GET /v1/searches/{}/trials/{}": "agon search show {}/{}",
    "POST /v1/searches/{}/trials/{}/stop": "agon search stop {} {}",
    "GET /v1/searches/{}/events": "agon search watch {}",
    "GET /v1/searches/{}/logs": "agon search logs {}",
    "GET /v1/searches/{}/report": "agon search report {}",
    # No verb does these; who is told of them is told the endpoint.
    **dict.fromkeys(
        (
            "POST /v1/jobs/{}/events", "GET /v1/jobs/{}/desired", "GET /v1/schema", "GET /v1/cluster",
            "POST /v1/datasets", "GET /v1/datasets", "GET /v1/datasets/{}", "DELETE /v1/datasets/{}", "POST /v1/datasets/{}/check",
            "GET /v1/models", "GET /v1/models/{}", "GET /v1/models/{}/versions", "PUT /v1/models/{}/aliases/{}",
            "GET /v1/tokens", "POST /v1/tokens", "DELETE /v1/tokens/{}", "GET /healthz", "GET /readyz",
        )
    ),
}  # fmt: skip
"""Endpoint → what is typed for it; {} in both are the same words in the same order."""
ENDPOINT = re.compile(r"\b(?:GET|POST|PUT|PATCH|DELETE) /[A-Za-z0-9_/.{}-]*[A-Za-z0-9_}-]")
_PATTERNS = {re.compile(re.escape(endpoint).replace(r"\{\}", "([^/]+)")): verb for endpoint, verb in VERBS.items()}
PARAMETERS = {
    "last-event-id": "--after", "state": "--state", "name": "--name", "family": "--family", "limit": "--limit", "tail": "--tail",
    "attempt": "--attempt", "job_id": "JOB", "search_id": "SEARCH", "trial_id": "TRIAL",
}  # fmt: skip
"""Of a request without a body → what is typed for it."""


def typed(text: str) -> str:
    """The text with the verbs for the endpoints that it names."""
    return ENDPOINT.sub(lambda found: _verb(found.group()), text)


def _verb(endpoint: str) -> str:
    for pattern, verb in _PATTERNS.items():
        if verb is not None and (match := pattern.fullmatch(endpoint)):
            return verb.format(*(_word(word) for word in match.groups()))
    return endpoint


def _word(given: str) -> str:
    """As it is typed; `{search}`, which stands for any, as the help writes it: SEARCH."""
    return given.strip("{}").upper() if given.startswith("{") else shlex.quote(given)


def refusal(error: ApiError) -> tuple[str, Sequence[FieldError]]:
    """What the API said of its refusal: the message, and the wrong fields."""
    asked = PARAMETERS if error.method == "GET" else {}
    fields = [
        FieldError(
            path=asked.get(field.path, field.path),
            message=typed(field.message),
            value=field.value,
            fix=typed(field.fix),
        )
        for field in error.errors
    ]
    if isinstance(error, Unauthenticated) and os.environ.get("AGON_TOKEN"):
        return f"{typed(str(error))} (it comes from AGON_TOKEN)", fields
    return "the API refused the request" if fields else typed(str(error)), fields
