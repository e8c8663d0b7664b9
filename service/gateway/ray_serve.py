"""Ray Serve as the control plane sees it: its REST API on Ray's dashboard, and its proxy, which has the applications (this process
has no Ray).

Read in ray 2.60: `dashboard/modules/serve/serve_head.py`, `serve/schema.py`, `serve/_private/proxy.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from service.gateway.dashboard import Dashboard, RayUnreachableError, last_line
from trainer.proxies import LOOPBACK
from trainer.serve.wire import MODELS, PLANS, QUESTION_HEADER, SHORT

SLOW_SECONDS = 30.0
"""Limit of what starts or stops Serve: it waits for processes of its own."""
MOST_BYTES = 256 << 20
"""Of one answer."""
CONNECTIONS = 512
"""To the proxy; who may ask at once is bounded before (`service.serving.crowd`)."""
BUILDERS = {MODELS: "trainer.serve.app:build", PLANS: "trainer.serve.app:build_plans"}
"""By application: what Serve imports and calls with `args`."""
_API = "/api/serve/applications/"
_RUNNING, _COMING = ("RUNNING", "UPDATING"), ("STARTING", "RECOVERING", "PENDING_MIGRATION")


class ServeRefusedError(Exception):
    """Serve answered that it won't; trying the same again is pointless."""


class ProxyError(Exception):
    """A question was not answered."""


class NoProxyError(ProxyError):
    """Nobody took the question: Serve isn't there, or its proxy just ended."""


class CutError(ProxyError):
    """The proxy took it, and ended without an answer, or its answer was none."""


class LateError(ProxyError):
    """It took longer than it may."""


@dataclass(frozen=True)
class Application:
    """As it is declared."""

    name: str
    args: Mapping[str, Any]
    """What it is built with: JSON, which whoever may ask Ray can read."""


@dataclass(frozen=True)
class AppState:
    """One application, as Serve tells."""

    status: str
    """`DEPLOYING`, `RUNNING`, `DEPLOY_FAILED`, `UNHEALTHY`, `DELETING`, `NOT_STARTED`."""
    message: str = ""
    running: int = 0
    """Replicas that answer."""
    coming: int = 0
    """Replicas that start."""
    left: int = 0
    """Replicas that end."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """What it was declared with."""


@dataclass(frozen=True)
class ServeState:
    """What of Serve there is."""

    there: bool = False
    """Whether its controller runs."""
    port: int | None = None
    """Of its proxy."""
    proxies: tuple[str, ...] = ()
    """How each does: `HEALTHY`, …"""
    applications: Mapping[str, AppState] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What the proxy, or an application behind it, answered."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By names in lower case."""


class RayServe(Protocol):
    """The first three raise RayUnreachableError when nothing is known of their effect. They may take half a minute."""

    def declare(self, applications: Sequence[Application]) -> None:
        """Have Serve run these and no others; start it if it isn't there. The same again changes nothing. Raises ServeRefusedError."""

    def state(self) -> ServeState:
        """What there is."""

    def shutdown(self) -> None:
        """End Serve with all that it runs. If it isn't there that is success."""

    async def ask(self, path: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Answer:
        """What `POST path` answers. Cancelled, its connection is closed, by which Serve cancels the work. Raises ProxyError."""
        ...

    def close(self) -> None:
        """Release connections."""

    async def aclose(self) -> None:
        """The same of those to the proxy, in the loop that they are of."""
        ...


class HttpRayServe(Dashboard):
    """The real one. Thread-safe but for `ask`, which is one event loop's."""

    def __init__(self, address: str, token_file: Path | None, proxy: str, *, most: int = MOST_BYTES) -> None:
        """proxy: its URL as this process reaches it."""
        super().__init__(address, token_file)
        self.proxy, self.most = proxy, most
        self._asking: httpx.AsyncClient | None = None

    @property
    def http_options(self) -> dict[str, Any]:
        """Where the proxy listens: on loopback alone if it is reached there."""
        url = urlsplit(self.proxy)
        return {"host": "127.0.0.1" if url.hostname in LOOPBACK else "0.0.0.0", "port": port_of(self.proxy)}  # noqa: S104

    def declare(self, applications: Sequence[Application]) -> None:
        """See RayServe."""
        body = {
            "proxy_location": "HeadOnly",
            "http_options": self.http_options,
            "applications": [
                {"name": item.name, "route_prefix": f"/{item.name}", "import_path": BUILDERS[item.name]}
                | {"args": dict(item.args)}
                for item in applications
            ],
        }
        response = self.call("PUT", _API, json=body, timeout=httpx.Timeout(SLOW_SECONDS, connect=2.0))
        if response.status_code in (400, 501):
            raise ServeRefusedError(last_line(response.text))
        if not response.is_success:
            raise RayUnreachableError(
                f"Ray at {self.address} answered {response.status_code}: {last_line(response.text)}"
            )

    def state(self) -> ServeState:
        """See RayServe."""
        found = self.json(self.call("GET", _API))
        try:
            return _state(found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RayUnreachableError(f"{self.address} does not answer as Ray Serve does") from error

    def shutdown(self) -> None:
        """See RayServe."""
        response = self.call("DELETE", _API, timeout=httpx.Timeout(SLOW_SECONDS, connect=2.0))
        if not response.is_success:
            raise RayUnreachableError(
                f"Ray at {self.address} answered {response.status_code}: {last_line(response.text)}"
            )

    async def ask(self, path: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Answer:
        """See RayServe."""
        try:
            async with asyncio.timeout(seconds):
                return await self._post(path, body, headers)
        except TimeoutError:
            raise LateError(f"no answer within {seconds:g} s") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NoProxyError(f"Ray Serve's proxy at {self.proxy} can't be reached ({_why(error)})") from error
        except httpx.HTTPError as error:
            raise CutError(f"Ray Serve's proxy at {self.proxy} ended the connection ({_why(error)})") from error

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self._asking is None:
            self._asking = httpx.AsyncClient(
                base_url=self.proxy,
                timeout=httpx.Timeout(None, connect=2.0, pool=5.0),
                limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=32, keepalive_expiry=20.0),
                trust_env=False,
            )
        sent = {"Content-Type": "application/json", "Accept-Encoding": "identity", **headers}
        if len(body) <= SHORT and body.isascii() and (text := body.decode()).isprintable():
            sent, body = {**sent, QUESTION_HEADER: text}, b""
        async with self._asking.stream("POST", path, content=body, headers=sent) as response:
            parts, size = [], 0
            async for part in response.aiter_raw():
                parts.append(part)
                size += len(part)
                if size > self.most:
                    raise CutError(f"the answer has more than {self.most} bytes")
            kept = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status_code, b"".join(parts), kept)

    async def aclose(self) -> None:
        """See RayServe."""
        if self._asking is not None:
            await self._asking.aclose()
            self._asking = None


def port_of(url: str) -> int:
    """The port that a URL means."""
    found = urlsplit(url)
    return found.port or (443 if found.scheme == "https" else 80)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _state(found: Mapping[str, Any]) -> ServeState:
    return ServeState(
        there=bool(found.get("controller_info")),
        port=(found.get("http_options") or {}).get("port"),
        proxies=tuple(str(proxy.get("status", "")) for proxy in (found.get("proxies") or {}).values()),
        applications={str(name): _application(item) for name, item in found["applications"].items()},
    )


def _application(item: Mapping[str, Any]) -> AppState:
    replicas = [
        str(replica.get("state", ""))
        for deployment in (item.get("deployments") or {}).values()
        for replica in deployment.get("replicas") or ()
    ]
    said = [str(deployment.get("message") or "") for deployment in (item.get("deployments") or {}).values()]
    return AppState(
        status=str(item["status"]),
        message="; ".join(part for part in [str(item.get("message") or ""), *said] if part)[:2000],
        running=sum(state in _RUNNING for state in replicas),
        coming=sum(state in _COMING for state in replicas),
        left=sum(state == "STOPPING" for state in replicas),
        args=(item.get("deployed_app_config") or {}).get("args") or {},
    )
