"""How a request says who asks: by a token, by the word of a proxy that has signed people on, by a session's cookie. The first of them
that it has decides, and the others are not looked at.

A browser sends a cookie, and a proxy adds its header, whatever page made the request. So what comes by them may change something
only if it comes from a page of this server: `Sec-Fetch-Site` says so (W3C Fetch Metadata, 2.2), or `Origin` (RFC 6454, 7).
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers

from service.access import people, sessions, store
from service.access.tokens import Principal
from service.access.uses import Uses
from service.bodies.tokens import PERSON
from service.db.session import Database
from service.errors import Forbidden, Unauthenticated
from service.http import Asked
from service.settings import Settings

COOKIE = "agon_session"
LOGINS = frozenset({("POST", "/v1/session"), ("POST", "/sign-in")})
"""What may come without saying who asks, since its body does."""
FORM = ("GET", "/sign-in")
"""The page on which one says it."""
LOCAL = "127.0.0.1"
MOST_TOLD = 100
logger = logging.getLogger("agon.access")


class Entry:
    """`service.http.Guard` calls it in a thread, for every request but those that anyone may make."""

    def __init__(self, db: Database, settings: Settings, uses: Uses) -> None:
        self._db, self._uses = db, uses
        self._proxy = Proxy(settings.sso_header, settings.sso_proxies) if settings.sso_header else None

    def __call__(self, asked: Asked) -> Principal | None:
        """Who asks; None: a login says it in its body. Raises Unauthenticated, Forbidden."""
        token = _bearer(asked.headers)
        if token is not None:
            return self.whose(token)
        if (asked.method, asked.path) in LOGINS:
            check_not_foreign(asked.headers)
            return None
        if (asked.method, asked.path) == FORM:
            return None
        found = self._signed_on(asked) or self._by_cookie(asked.headers)
        if found is None:
            raise Unauthenticated("send `Authorization: Bearer TOKEN`; `agon up` writes the token to AGON_HOME/token")
        return found

    def whose(self, token: str) -> Principal:
        """Whose token it is. Raises Unauthenticated."""
        found = store.find(self._db, token, self._uses.note)
        if found is None:
            raise Unauthenticated("this token is not known here; it may have been revoked", invalid=True)
        return found

    def _signed_on(self, asked: Asked) -> Principal | None:
        name = self._proxy.names(asked.headers, asked.peer) if self._proxy else None
        if name is None:
            return None
        # As a token's id it stays the same for as long as the person comes: idempotency keys are theirs.
        known_as = f"p-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        return Principal(known_as, name, name, people.named(self._db, name), by="proxy")

    def _by_cookie(self, headers: Headers) -> Principal | None:
        secret = _cookie(headers)
        if secret is None:
            return None
        found = sessions.find(self._db, secret)
        if found is None:
            raise Unauthenticated("this browser session has ended; sign in again", invalid=True)
        return found


class Proxy:
    """Whom the proxies name that are trusted to."""

    def __init__(self, header: str, proxies: Sequence[str]) -> None:
        self.header = header
        self._networks = [ip_network(proxy, strict=False) for proxy in proxies]
        self._told: set[str | None] = set()

    def names(self, headers: Headers, peer: str | None) -> str | None:
        """None: nobody is named, or by someone who is not trusted. Raises Forbidden for what is no one name."""
        given = headers.getlist(self.header)
        if not given:
            return None
        if why := self._distrust(headers, peer):
            if peer not in self._told and len(self._told) < MOST_TOLD:  # once
                self._told.add(peer)
                logger.warning("header ignored", extra={"facts": {"header": self.header, "peer": peer, "why": why}})
            return None
        if len(given) > 1:
            raise Forbidden(f"{self.header} came {len(given)} times; the proxy has to take out what clients send of it")
        if given[0] and not re.fullmatch(PERSON, given[0]):
            raise Forbidden(
                f"{self.header} says {given[0][:80]!r}, which can't be a name here: 1 to 64 of A-Z a-z 0-9 . _ @ -, the first a "
                "letter or digit; have the proxy send one that can, or another header (AGON_SSO_HEADER)"
            )
        if given[0] == store.ADMIN:
            raise Forbidden(
                f"{self.header} says {store.ADMIN!r}, whose are the token file's token and all that was made with it: nobody is signed "
                "on as that; have the proxy send another name"
            )
        return given[0] or None

    def _distrust(self, headers: Headers, peer: str | None) -> str:
        """Why the header says nothing; "": it does."""
        if peer is None or not any(_lies_in(peer, network) for network in self._networks):
            return "it comes from none of AGON_SSO_PROXIES"
        hops = {hop.strip() for line in headers.getlist("x-forwarded-for") for hop in line.split(",")}
        if peer != LOCAL and any(hop == peer or hop.startswith((f"{peer}:", f"[{peer}]")) for hop in hops):
            # uvicorn takes it from there, unless it is told not to, when it is connected with its own machine: with LOCAL.
            return "its address may come out of X-Forwarded-For; run uvicorn with --no-proxy-headers"
        return ""


def _lies_in(peer: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in network


def check_own_page(headers: Headers) -> None:
    """Raise Forbidden unless a page of this server, or its user, made the request."""
    site, origin = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    if site == ["same-origin"] or (not site and len(origin) == 1 and _is_own(origin[0], headers)):
        return
    raise Forbidden(
        "a change that comes by a browser session or through a proxy's sign-on has to come from a page of this server: "
        "`Sec-Fetch-Site: same-origin`, or an `Origin` with the request's host; a program sends `Authorization: Bearer TOKEN`"
    )


def check_not_foreign(headers: Headers) -> None:
    """Raise Forbidden for what a page of another server makes a browser send. A program says nothing of where it comes from."""
    if "sec-fetch-site" in headers or "origin" in headers:
        check_own_page(headers)


def is_secure(scheme: str, headers: Headers) -> bool:
    """Whether a cookie need never go over plain HTTP. Whoever says so wrongly makes their own cookie stricter, and nothing else."""
    return scheme == "https" or "https" in headers.get("x-forwarded-proto", "").lower().replace(",", " ").split()


def _is_own(origin: str, headers: Headers) -> bool:
    try:
        place = urlsplit(origin)
        return place.scheme in ("http", "https") and place.netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False


def _bearer(headers: Headers) -> str | None:
    """None: the request has no token. Raises Unauthenticated for several."""
    given = [get_authorization_scheme_param(line) for line in headers.getlist("authorization")]
    tokens = [token for scheme, token in given if scheme.lower() == "bearer"]
    if len(tokens) > 1:
        raise Unauthenticated("send one `Authorization: Bearer TOKEN`, not several", invalid=True)
    return tokens[0] if tokens else None


def _cookie(headers: Headers) -> str | None:
    """None: the request has no session. Raises Unauthenticated for several: one of them may be somebody else's."""
    parts = [part.strip().partition("=") for line in headers.getlist("cookie") for part in line.split(";")]
    found = [value for name, _, value in parts if name == COOKIE]
    if len(found) > 1:
        raise Unauthenticated(f"send one cookie {COOKIE}, not several; clear this site's cookies", invalid=True)
    return found[0] if found else None
