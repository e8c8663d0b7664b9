"""Who may do what: one table, asked for every request of every route (`service.access.callers.permitted`).

| | read | ask | change | use | report | sign |
|---|---|---|---|---|---|---|
| viewer | yes | yes | no | no | no | yes |
| user | yes | yes | what is theirs, and what is nobody's | yes | no | yes |
| admin | yes | yes | yes | yes | no | yes |
| job | no | no | no | no | of its own job | no |

What administrators alone may see or set (others' caps, others' usage, garbage) is not in it: such an endpoint asks for `Admin`.
"""

from __future__ import annotations

from enum import StrEnum

from service.access.tokens import Scope
from trainer.serve.questions import QUESTIONS

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""


class Action(StrEnum):
    """What a request is about."""

    READ = "read"
    ASK = "ask"  # models: it changes nothing, and the cluster computes for it
    CHANGE = "change"  # anything, or have something made
    USE = "use"  # what is somebody's, without changing it for them
    REPORT = "report"  # what only a running job calls
    SIGN = "sign"  # begin or end one's own browser session


SPECIAL = {
    ("POST", "/v1/jobs/{job_id}/events"): Action.REPORT,
    ("GET", "/v1/jobs/{job_id}/desired"): Action.REPORT,
    ("POST", "/v1/datasets/{name}/check"): Action.USE,
    **{("POST", "/v1/models/{name}/" + kind): Action.ASK for kind in QUESTIONS},
    ("POST", "/v1/session"): Action.SIGN,
    ("DELETE", "/v1/session"): Action.SIGN,
    ("POST", "/sign-in"): Action.SIGN,
    ("POST", "/sign-out"): Action.SIGN,
}
"""The routes, by method and template, whose method doesn't say it."""
ROLES = (Scope.VIEWER, Scope.USER, Scope.ADMIN)
"""Of people, the least first."""


def action_of(method: str, template: str) -> Action:
    """What a request of this route is about. One that nobody has thought of is a change."""
    return SPECIAL.get((method, template)) or (Action.READ if method in SAFE else Action.CHANGE)


def least(one: Scope, other: Scope | None) -> Scope:
    """The one of two roles that may do less; a job's token has none and stays what it is. None: no bound."""
    return one if other is None or one is Scope.JOB else min(one, other, key=ROLES.index)


def may(scope: Scope, action: Action) -> bool:
    """Whether this role may do such things at all: to what is its own, or a job's token to its job."""
    if scope is Scope.JOB or action is Action.REPORT:
        return scope is Scope.JOB and action is Action.REPORT
    return action not in (Action.CHANGE, Action.USE) or scope is not Scope.VIEWER


def may_change(scope: Scope, caller: str, owner: str) -> bool:
    """Whether this person may change what is that owner's; "": nobody knows whose it is."""
    return may(scope, Action.CHANGE) and (scope is Scope.ADMIN or owner in ("", caller))


def may_grant(scope: Scope, caller: str, granted: Scope, owner: str) -> bool:
    """Whether this person may make a token of that role for that owner."""
    own = may_change(scope, caller, owner) and owner != ""
    return own and granted in ROLES and ROLES.index(granted) <= ROLES.index(scope)
