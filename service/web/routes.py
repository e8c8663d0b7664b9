"""All pages, in the order in which they are looked at."""

from __future__ import annotations

from service.web import assets
from service.web.signin import routes as signin

PARTS = (
    signin,
    assets,
)
