"""The shell around every page, and how a page is answered."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.access import rules
from service.access.tokens import Principal, Scope
from service.etags import ASK, matches
from service.web import assets, words

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No script and no style but ours, from files (CSP level 3): what a run, a label or a class is named can't become one."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": ASK,
    "Vary": "Cookie, Accept-Encoding",
}
THEME = "agon_theme"
"""The cookie of whoever has chosen `light` or `dark`; others have what their system says."""
ZIP_FROM = 1024
"""Bytes from which an answer is zipped."""
SECTIONS: tuple[tuple[str, str], ...] = (
    ("Runs", "/runs"),
    ("Queue", "/queue"),
    ("Compare", "/compare"),
    ("Searches", "/searches"),
    ("Models", "/models"),
    ("Datasets", "/datasets"),
    ("Submit", "/submit"),
    ("Administration", "/admin"),
)
"""What the head of every page leads to: name and path."""


@dataclass(frozen=True)
class View:
    """What the shell needs to know of a page."""

    title: str
    section: str = ""
    """The path of the section that it belongs to."""
    events: str | None = None
    """The query of `GET /v1/events` that it follows; None: it follows nothing."""
    look: str = ""
    """What is fetched when something was told; empty: the page itself."""
    pause: int = 2
    """Seconds that pass at least between two such looks."""
    scripts: tuple[str, ...] = ()
    """Modules of its own, by their paths below this folder."""
    charts: bool = False
    """Whether it draws curves."""
    wide: bool = False
    """Whether it takes all of the width."""


@dataclass(frozen=True)
class Viewer:
    """Who looks, and what they may do."""

    caller: Principal

    @property
    def name(self) -> str:
        """The person."""
        return self.caller.owner

    @property
    def is_admin(self) -> bool:
        """Whether they are an administrator."""
        return self.caller.scope is Scope.ADMIN

    @property
    def may_submit(self) -> bool:
        """Whether they may have anything made."""
        return rules.may(self.caller.scope, rules.Action.CHANGE)

    def may_change(self, owner: str) -> bool:
        """Whether they may change what is that owner's."""
        return rules.may_change(self.caller.scope, self.caller.owner, owner)


def page(
    request: Request, caller: Principal | None, template: str, view: View, *, status: int = 200, **facts: Any
) -> Response:
    """The template in its shell; 304 for a browser that has it as it is."""
    who = Viewer(caller) if caller is not None else None
    theme = request.cookies.get(THEME, "")
    text = _environment().get_template(template).render(
        view=view, viewer=who, sections=SECTIONS, path=request.url.path, theme=theme if theme in ("light", "dark") else "",
        now=datetime.now(UTC), **facts,
    )  # fmt: skip
    return answer(request, text, status)


def answer(request: Request, text: str, status: int = 200) -> Response:
    """HTML with its ETag."""
    content = text.encode()
    headers = {**HEADERS, "ETag": f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'}
    if status == 200 and matches(request.headers.get("if-none-match"), headers["ETag"].removeprefix("W/")):
        return Response(status_code=304, headers=headers)
    if len(content) >= ZIP_FROM and assets.zips(request):
        content, headers["Content-Encoding"] = gzip.compress(content, 5, mtime=0), "gzip"
    return HTMLResponse(content, status, headers)


@cache
def _environment() -> Environment:
    # Not reachable by a request: templates are named by code alone. Escaping is on in all of them.
    environment = Environment(
        loader=FileSystemLoader(assets.FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words.FILTERS)
    environment.globals.update(static=assets.url, json_of=_json)
    return environment


def _json(value: Mapping[str, Any] | list[Any]) -> str:
    """For a `data-` attribute: escaping makes it safe there."""
    return json.dumps(value, separators=(",", ":"), default=str)
