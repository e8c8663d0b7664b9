"""What the pages of the administration have in common."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from service.access.tokens import Principal
from service.web import frame
from service.web.frame import View

TABS = (
    ("tokens", "Tokens"),
    ("people", "People"),
    ("webhooks", "Webhooks"),
    ("audit", "Audit"),
    ("disk", "Disk"),
    ("health", "Health"),
)


def page(request: Request, caller: Principal, tab: str, template: str = "", **facts: Any) -> Response:
    """One of them. template: of the folder, where it isn't called as the tab."""
    view = View(title=dict(TABS)[tab], section="/admin", scripts=("admin/page.js",))
    return frame.page(request, caller, f"admin/{template or tab}.html", view, tabs=TABS, tab=tab, **facts)
