"""Where the API is, and calls that survive its restart."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx

from service.client.errors import NotConfigured, Unreachable, from_response
from service.stack import record as records
from service.stack.layout import HOME_ENV, Layout, home_from_env
from trainer.proxies import is_loopback, proxy_for

URL_ENV, TOKEN_ENV = "AGON_URL", "AGON_TOKEN"
KEY = "Idempotency-Key"
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 3.0
BUSY = (502, 503, 504)
SOON = 10
"""Seconds: what is away for longer by its own word is told at once."""


def discover(url: str | None = None, token: str | None = None) -> tuple[str, str]:
    """(base URL, token): what is given, else AGON_URL and AGON_TOKEN, else the stack under AGON_HOME.

    Raises NotConfigured and says what is missing. The local token is never sent to another URL than the local stack's.
    """
    layout = Layout(home_from_env())
    url = url or os.environ.get(URL_ENV)
    token = token or os.environ.get(TOKEN_ENV)
    local = records.read(layout.record)
    if not url:
        if local is None:
            raise NotConfigured(f"no stack runs from {layout.home}: start one with `agon up`, or set {URL_ENV}")
        url = local.api_url
    if not _is_http(url):
        raise NotConfigured(f"{url!r} is no http:// or https:// URL; set {URL_ENV}, e.g. to http://127.0.0.1:8700")
    if not token:
        if local is None or url.rstrip("/") != local.api_url:
            raise NotConfigured(f"set {TOKEN_ENV} to a token of {url}")
        try:
            token = layout.token.read_text().strip()
        except OSError as error:
            raise NotConfigured(
                f"can't read the token in {layout.token} ({error}); set {TOKEN_ENV} or {HOME_ENV}"
            ) from error
    return url.rstrip("/"), token


class Connection:
    """HTTP to one API. Calls that may be repeated are tried again for `patience` seconds while it restarts."""

    def __init__(self, url: str, token: str, *, timeout: float, patience: float) -> None:
        self.url = url
        self.patience = patience
        self.proxied = _may_be_proxied(url) and proxy_for(url) is not None
        self.http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout, connect=min(5.0, timeout)),
            follow_redirects=False,  # the token goes to nobody else
            trust_env=_may_be_proxied(url),
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        patience: float | None = None,
        timeout: float | None = None,
        accept: tuple[int, ...] = (),
    ) -> httpx.Response:
        """One call; an answer with a status of `accept` counts as success.

        GET, PUT, DELETE and, by an idempotency key, POST are repeatable. patience and timeout: others for this call.

        Raises ApiError, UnreadableReply or Unreachable.
        """
        again = repeatable if repeatable is not None else method in ("GET", "PUT", "DELETE", "POST")
        keyed = {KEY: uuid.uuid4().hex} if method == "POST" else {}
        until, pause = time.monotonic() + (self.patience if patience is None else patience), FIRST_PAUSE
        within: Any = httpx.USE_CLIENT_DEFAULT if timeout is None else httpx.Timeout(timeout, connect=5.0)
        given = {name: value for name, value in (params or {}).items() if value is not None}
        while True:
            try:
                response = self.http.request(
                    method, path, params=given, json=body, headers={**keyed, **(headers or {})}, timeout=within
                )
            except httpx.TransportError as error:
                # A connection that was refused has carried no request, so that may always be tried again.
                refused = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if not (again or refused) or time.monotonic() + pause > until:
                    raise Unreachable(self.url, error, proxied=self.proxied) from error
            else:
                if response.is_success or response.status_code in accept:
                    return response
                if not (again and passing(response)) or time.monotonic() + pause > until:
                    raise from_response(response)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def fetch(self, path: str, params: Mapping[str, Any], file: BinaryIO) -> None:
        """Write an answer of any length to a file, from its beginning whenever it is tried again.

        Raises ApiError or Unreachable.
        """
        until, pause = time.monotonic() + self.patience, FIRST_PAUSE
        given = {name: value for name, value in params.items() if value is not None}
        while True:
            file.seek(0)
            file.truncate()
            try:
                with self.http.stream("GET", path, params=given, headers={"Accept-Encoding": "identity"}) as response:
                    if response.is_success:
                        for piece in response.iter_bytes():
                            file.write(piece)
                        return
                    response.read()
                if not passing(response) or time.monotonic() + pause > until:
                    raise from_response(response)
            except httpx.TransportError as error:
                if time.monotonic() + pause > until:
                    raise Unreachable(self.url, error, proxied=self.proxied) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _may_be_proxied(url: str) -> bool:
    """Whether the environment's proxies are for this API: not for one on this machine, nor for the local stack's."""
    local = records.read(Layout(home_from_env()).record)
    own = local is not None and url.rstrip("/") == local.api_url
    return not own and not is_loopback(urlsplit(url).hostname or "")


def passing(response: httpx.Response) -> bool:
    """Whether the answer invites to try again: a proxy without its server, or ours that says how soon."""
    if "problem+json" not in response.headers.get("content-type", ""):
        return response.status_code in BUSY
    after = response.headers.get("retry-after", "")  # also of the same request that is under way
    return after.isdecimal() and int(after) <= SOON
