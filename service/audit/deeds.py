"""What people do to the control plane, by stable words: the route says which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import compile_path

from trainer.serve.questions import QUESTIONS

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
AUTHENTICATE = "authenticate"
"""The word of a token that is refused, whatever it was to do."""


@dataclass(frozen=True)
class Deed:
    """One action."""

    word: str
    """`job.pause`: the kind of its target and what is done to it."""
    ahead: bool = False
    """Whether it changes what no transaction of the database covers: the record is written before."""
    quiet: bool = False
    """Whether only its refusals are recorded: it changes nothing, or no person does it."""

    @property
    def kind(self) -> str:
        """Of the target."""
        return self.word.partition(".")[0]


def _runs(kind: str, path: str) -> dict[str, Deed]:
    verbs = ("cancel", "pause", "resume", "retry") if kind == "job" else ("cancel", "pause", "resume", "extend")
    return {
        f"POST {path}": Deed(f"{kind}.submit"),
        f"PATCH {path}/{{}}": Deed(f"{kind}.edit"),
        f"DELETE {path}/{{}}": Deed(f"{kind}.delete"),
        **{f"POST {path}/{{}}/{verb}": Deed(f"{kind}.{verb}") for verb in verbs},
    }


def _checkpoints(path: str) -> dict[str, Deed]:
    return {
        f"DELETE {path}/checkpoints/{{}}": Deed("checkpoint.delete", ahead=True),
        f"PUT {path}/checkpoints/{{}}/pin": Deed("checkpoint.pin", ahead=True),
        f"DELETE {path}/checkpoints/{{}}/pin": Deed("checkpoint.unpin", ahead=True),
    }


DEEDS: Mapping[str, Deed] = {
    **_runs("job", "/v1/jobs"),
    **_runs("search", "/v1/searches"),
    **_checkpoints("/v1/jobs/{}"),
    **_checkpoints("/v1/searches/{}/trials/{}"),
    "POST /v1/searches/{}/trials/{}/stop": Deed("trial.stop"),
    "POST /v1/datasets": Deed("dataset.add"),
    "POST /v1/datasets/{}/check": Deed("dataset.check"),
    "DELETE /v1/datasets/{}": Deed("dataset.remove"),
    "PUT /v1/models/{}/aliases/{}": Deed("model.alias", ahead=True),
    "PUT /v1/owners/{}/caps": Deed("owner.cap"),
    "DELETE /v1/owners/{}/caps": Deed("owner.uncap"),
    "POST /v1/tokens": Deed("token.create"),
    "DELETE /v1/tokens/{}": Deed("token.revoke"),
    "POST /v1/tokens/{}/rotate": Deed("token.rotate"),
    "PUT /v1/owners/{}/role": Deed("owner.role"),
    "POST /v1/session": Deed("session.begin"),
    "DELETE /v1/session": Deed("session.end"),
    "POST /sign-in": Deed("session.begin"),
    "POST /sign-out": Deed("session.end"),
    "POST /v1/webhooks": Deed("webhook.add"),
    "PATCH /v1/webhooks/{}": Deed("webhook.edit"),
    "DELETE /v1/webhooks/{}": Deed("webhook.remove"),
    "POST /v1/webhooks/{}/rotate": Deed("webhook.rotate"),
    "POST /v1/webhooks/{}/test": Deed("webhook.test"),
    "POST /v1/webhooks/{}/replay": Deed("webhook.replay"),
    "POST /v1/webhooks/{}/deliveries/{}/replay": Deed("webhook.replay"),
    "POST /v1/gc": Deed("disk.collect", ahead=True),
    "POST /v1/jobs/{}/events": Deed("job.report", quiet=True),  # a run's driver by its own token
    "POST /v1/validate": Deed("job.validate", quiet=True),
    "POST /v1/searches/validate": Deed("search.validate", quiet=True),
    "POST /v1/plans": Deed("plan.make", quiet=True),
    "POST /v1/forecast": Deed("job.forecast", quiet=True),
    **{"POST /v1/models/{}/" + kind: Deed("model." + kind, quiet=True) for kind in QUESTIONS},
    "DELETE /v1/serve": Deed("serve.stop"),
}
"""By method and path, {} for each parameter."""


def known(method: str, path: str) -> Deed | None:
    """By a route's method and path, with its parameters' names."""
    return DEEDS.get(plain(f"{method} {path}"))


def plain(endpoint: str) -> str:
    """Without its parameters' names."""
    return re.sub(r"{[^}]+}", "{}", endpoint)


class Table:
    """Finds the deed of a request."""

    def __init__(self, routes: Sequence[Any]) -> None:
        self._rows = [
            (method, compile_path(route.path)[0], known(method, route.path) or _unnamed(method, route.path))
            for route in routes
            if isinstance(route, APIRoute)
            for method in sorted(CHANGING & (route.methods or set()))
        ]

    def find(self, method: str, path: str) -> tuple[Deed, str] | None:
        """The deed, and its target as far as the path names it: `s-1/t-00003/500`. None: no route, or one that changes nothing."""
        for of, pattern, deed in self._rows:
            if of == method and (match := pattern.match(path)) is not None:
                return deed, "/".join(match.groups())
        return None


def _unnamed(method: str, path: str) -> Deed:
    """Of a route that nobody named: it is recorded all the same."""
    kind = next((part for part in path.split("/") if part not in ("", "v1")), "api")
    return Deed(f"{kind[:15].rstrip('s')}.{method.lower()}")
