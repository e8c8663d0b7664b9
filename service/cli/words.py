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
    "GET /v1/jobs/{}/lineage": "agon show {}",
    "PATCH /v1/jobs/{}": "agon edit {}",
    "DELETE /v1/jobs/{}": "agon delete {}",
    "POST /v1/jobs/{}/cancel": "agon cancel {}",
    "POST /v1/jobs/{}/pause": "agon pause {}",
    "POST /v1/jobs/{}/resume": "agon resume {}",
    "POST /v1/jobs/{}/retry": "agon retry {}",
    "GET /v1/jobs/{}/events": "agon events {}",
    "GET /v1/events": "agon events",
    "GET /v1/jobs/{}/logs": "agon logs {}",
    "GET /v1/jobs/{}/curves": "agon compare {}",
    "GET /v1/jobs/{}/logs/list": "agon logs {} --list",
    "GET /v1/jobs/{}/logs/search": "agon logs {} --search TEXT",
    "GET /v1/jobs/{}/logs/stream": "agon logs {} --follow",
    "GET /v1/jobs/{}/logs/archive": "agon logs {} --all",
    "GET /v1/jobs/{}/report": "agon report {} --out DIR",
    "GET /v1/jobs/{}/samples": "agon samples {}",
    "GET /v1/jobs/{}/samples/steps": "agon samples {} --list",
    "GET /v1/jobs/{}/samples/{}": "agon samples {} --step {}",
    "GET /v1/jobs/{}/samples/{}/tiles/{}": "agon samples {} --step {} --tile {}",
    "GET /v1/jobs/{}/checkpoints": "agon checkpoints list {}",
    "GET /v1/jobs/{}/checkpoints/{}": "agon checkpoints list {}",
    "DELETE /v1/jobs/{}/checkpoints/{}": "agon checkpoints delete {} {}",
    "GET /v1/jobs/{}/checkpoints/{}/archive": "agon checkpoints download {} {}",
    "PUT /v1/jobs/{}/checkpoints/{}/pin": "agon checkpoints pin {} {}",
    "DELETE /v1/jobs/{}/checkpoints/{}/pin": "agon checkpoints unpin {} {}",
    "POST /v1/validate": "agon validate",
    "POST /v1/forecast": "agon validate",
    "POST /v1/plans": "agon plan",
    "GET /v1/models/{}/versions/{}/package": "agon pull {}/{} --api",
    "POST /v1/models/{}/generate": "agon sample {} --remote",
    "POST /v1/models/{}/path": "agon sample {} --remote --path SEEDS",
    "POST /v1/models/{}/traverse": "agon sample {} --remote --traverse NAME",
    "POST /v1/models/{}/encode": "agon sample {} --remote --encode IMAGE --out FILE.npz",
    "POST /v1/models/{}/reconstruct": "agon sample {} --remote --encode IMAGE",
    "POST /v1/models/{}/neighbours": "agon sample {} --remote --neighbours K",
    "GET /v1/models/{}/generate": None,
    "GET /v1/models/{}/path": None,
    "GET /v1/models/{}/traverse": None,
    "GET /v1/serve": "agon serve status",
    "DELETE /v1/serve": "agon serve stop",
    "GET /v1/recipes": "agon recipes",
    "GET /v1/recipes/{}": "agon init {}",
    "POST /v1/searches": "agon search submit",
    "GET /v1/searches": "agon search list",
    "POST /v1/searches/validate": "agon search validate",
    "GET /v1/searches/{}": "agon search show {}",
    "GET /v1/searches/{}/lineage": "agon search show {}",
    "PATCH /v1/searches/{}": "agon search edit {}",
    "DELETE /v1/searches/{}": "agon search delete {}",
    "POST /v1/searches/{}/cancel": "agon search cancel {}",
    "POST /v1/searches/{}/pause": "agon search pause {}",
    "POST /v1/searches/{}/resume": "agon search resume {}",
    "POST /v1/searches/{}/extend": "agon search extend {}",
    "GET /v1/searches/{}/trials": "agon search trials {}",
    "GET /v1/searches/{}/trials/{}": "agon search show {}/{}",
    "GET /v1/searches/{}/trials/{}/samples": "agon samples {}/{}",
    "GET /v1/searches/{}/trials/{}/samples/steps": "agon samples {}/{} --list",
    "GET /v1/searches/{}/trials/{}/samples/{}": "agon samples {}/{} --step {}",
    "GET /v1/searches/{}/trials/{}/samples/{}/tiles/{}": "agon samples {}/{} --step {} --tile {}",
    "GET /v1/searches/{}/trials/{}/checkpoints": "agon checkpoints list {}/{}",
    "GET /v1/searches/{}/trials/{}/checkpoints/{}": "agon checkpoints list {}/{}",
    "DELETE /v1/searches/{}/trials/{}/checkpoints/{}": "agon checkpoints delete {}/{} {}",
    "GET /v1/searches/{}/trials/{}/checkpoints/{}/archive": "agon checkpoints download {}/{} {}",
    "PUT /v1/searches/{}/trials/{}/checkpoints/{}/pin": "agon checkpoints pin {}/{} {}",
    "DELETE /v1/searches/{}/trials/{}/checkpoints/{}/pin": "agon checkpoints unpin {}/{} {}",
    "POST /v1/searches/{}/trials/{}/stop": "agon search stop {} {}",
    "GET /v1/searches/{}/events": "agon search watch {}",
    "GET /v1/searches/{}/logs": "agon search logs {}",
    "GET /v1/searches/{}/logs/list": "agon search logs {} --list",
    "GET /v1/searches/{}/logs/search": "agon search logs {} --search TEXT",
    "GET /v1/searches/{}/logs/stream": "agon search logs {} --follow",
    "GET /v1/searches/{}/logs/archive": "agon search logs {} --all",
    "GET /v1/searches/{}/trials/{}/logs": "agon logs {}/{}",
    "GET /v1/searches/{}/trials/{}/logs/list": "agon logs {}/{} --list",
    "GET /v1/searches/{}/trials/{}/logs/search": "agon logs {}/{} --search TEXT",
    "GET /v1/searches/{}/trials/{}/logs/stream": "agon logs {}/{} --follow",
    "GET /v1/searches/{}/trials/{}/logs/archive": "agon logs {}/{} --all",
    "GET /v1/searches/{}/report": "agon search report {}",
    "GET /v1/disk": "agon cluster",
    "POST /v1/gc": "agon gc",
    "GET /v1/cluster": "agon cluster",
    "POST /v1/datasets": "agon datasets add SOURCE",
    "GET /v1/datasets": "agon datasets",
    "GET /v1/datasets/{}": "agon datasets show {}",
    "DELETE /v1/datasets/{}": "agon datasets remove {}",
    "POST /v1/datasets/{}/check": "agon datasets check {}",
    "GET /v1/models": "agon models",
    "GET /v1/models/{}": "agon models show {}",
    "GET /v1/models/{}/versions": "agon models show {}",
    "PUT /v1/models/{}/aliases/{}": "agon models alias {} {} VERSION",
    "GET /v1/owners": "agon owners",
    "GET /v1/owners/me": "agon owners show me",
    "GET /v1/owners/{}": "agon owners show {}",
    "PUT /v1/owners/{}/role": "agon owners role {} ROLE",
    "PUT /v1/owners/{}/caps": "agon owners cap {}",
    "DELETE /v1/owners/{}/caps": "agon owners uncap {}",
    "GET /v1/usage": "agon usage",
    "GET /v1/audit": "agon audit",
    "GET /v1/audit/stream": "agon audit --follow",
    "GET /v1/webhooks": "agon webhooks",
    "POST /v1/webhooks": "agon webhooks add URL",
    "GET /v1/webhooks/{}": "agon webhooks show {}",
    "PATCH /v1/webhooks/{}": "agon webhooks edit {}",
    "DELETE /v1/webhooks/{}": "agon webhooks remove {}",
    "POST /v1/webhooks/{}/rotate": "agon webhooks rotate {}",
    "POST /v1/webhooks/{}/test": "agon webhooks test {}",
    "POST /v1/webhooks/{}/replay": "agon webhooks replay {} --since TIME",
    "GET /v1/webhooks/{}/deliveries": "agon webhooks deliveries {}",
    "GET /v1/webhooks/{}/deliveries/{}": "agon webhooks deliveries {} --id {}",
    "POST /v1/webhooks/{}/deliveries/{}/replay": "agon webhooks replay {} {}",
    "GET /v1/tokens": "agon tokens",
    "POST /v1/tokens": "agon tokens create NAME",
    "POST /v1/tokens/{}/rotate": "agon tokens rotate {}",
    "DELETE /v1/tokens/{}": "agon tokens revoke {}",
    "GET /v1/session": "agon tokens me",
    # No verb does these; who is told of them is told the endpoint.
    **dict.fromkeys(
        (
            "POST /v1/jobs/{}/events",
            "GET /v1/jobs/{}/desired",
            "POST /v1/session",
            "DELETE /v1/session",
            "GET /v1/schema",
            "GET /metrics",
            "GET /healthz",
            "GET /readyz",
        )
    ),
}
"""Endpoint → what is typed for it; {} in both are the same words in the same order."""
ENDPOINT = re.compile(r"\b(?:GET|POST|PUT|PATCH|DELETE) /[A-Za-z0-9_/.{}-]*[A-Za-z0-9_}-]")
_PATTERNS = {re.compile(re.escape(endpoint).replace(r"\{\}", "([^/]+)")): verb for endpoint, verb in VERBS.items()}
_IF_MATCH = re.compile(r'If-Match: ("[^"]*")')
PARAMETERS = {
    "last-event-id": "--after", "kind": "--kind", "actor": "--actor", "action": "--action", "target": "--target", "token": "--token",
    "outcome": "--outcome", "since": "--since", "until": "--until",
    "state": "--state", "name": "--name", "family": "--family", "owner": "--owner", "label": "--label",
    "score": "--score", "limit": "--limit", "tail": "--tail",
    "attempt": "--attempt", "rank": "--rank", "text": "--search", "context": "--context", "case": "--case",
    "job_id": "JOB", "search_id": "SEARCH", "trial_id": "TRIAL",
    "step": "--step", "tile": "--tile",
}  # fmt: skip
"""Of a request without a body → what is typed for it."""
OF_A_CHANGE = {
    "from.job": "JOB", "from.trial": "SEARCH/TRIAL", "from.model": "MODEL", "from.version": "VERSION", "from.package": "--package",
    "from.checkpoint": "--at", "from.restart": "--restart", "from": "--restart",
    "if-match": "--if-match", "expires_in": "--expires", "overlap": "--overlap",
}  # fmt: skip
"""Of what a job begins with, or of a change → what is typed for it."""


def typed(text: str) -> str:
    """The text with the verbs for the endpoints that it names, and the option for the header."""
    return ENDPOINT.sub(lambda found: _verb(found.group()), _IF_MATCH.sub(r"--if-match '\1'", text))


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
    asked = PARAMETERS if error.method == "GET" else OF_A_CHANGE
    fields = [
        FieldError(
            path=asked.get(field.path.partition(".")[0], field.path),  # `text.0` is one of several
            message=typed(field.message),
            value=field.value,
            fix=typed(field.fix),
        )
        for field in error.errors
    ]
    if isinstance(error, Unauthenticated) and os.environ.get("AGON_TOKEN"):
        return f"{typed(str(error))} (it comes from AGON_TOKEN)", fields
    return "the API refused the request" if fields else typed(str(error)), fields
