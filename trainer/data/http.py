"""Reads over http(s), from addresses that may be asked alone. Runs on fsspec's event loop.

The address is checked where the socket is made, so what was checked is what is connected to: no name can mean one address
to the check and another to the connection, and every redirect passes the same check.
"""

from __future__ import annotations

import asyncio
import netrc
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.access import Access, what_is
from trainer.data.faults import AwayError, FetchError, ForbiddenError, UnusableError, of_status
from trainer.proxies import proxy_for

if TYPE_CHECKING:
    from aiohttp import BasicAuth, ClientSession
    from yarl import URL

HOPS = 5
"""Redirects that are followed."""
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
BLOCK = 1 << 20
_MOVED = (301, 302, 303, 307, 308)


async def read(url: str, access: Access) -> AsyncGenerator[bytes, None]:
    """The bytes that lie at the URL, in blocks. Raises FetchError, which never quotes the answer."""
    from aiohttp import InvalidURL
    from yarl import URL

    try:
        async for block in _read(URL(url), access):
            yield block
    except FetchError:
        raise
    except (InvalidURL, ValueError):
        raise UnusableError("is no valid URL, or was sent on to one that isn't") from None


async def _read(target: URL, access: Access) -> AsyncGenerator[bytes, None]:
    for _ in range(HOPS + 1):
        gate = Gate(target.host or "", access)
        proxy = proxy_for(str(target))
        if proxy is not None:
            await check(target.host or "", access)
        try:
            async with _session(gate if proxy is None else None) as session:
                options: dict[str, Any] = {**_proxied(proxy), "auth": _login(target.host or "")}
                async with session.get(target, allow_redirects=False, **options) as response:
                    if response.status == 200:
                        async for block in response.content.iter_chunked(BLOCK):
                            yield block
                        return
                    location = response.headers.get("Location", "")
                    if response.status not in _MOVED or not location:
                        raise of_status(response.status)
        except (FetchError, GeneratorExit):
            raise
        except Exception as error:
            raise gate.fault() or fault(error) from None  # its text may hold what the server sent
        target = _following(target, location)
    raise UnusableError(f"was sent on more than {HOPS} times")


def _following(target: URL, location: str) -> URL:
    from yarl import URL

    found = target.join(URL(location))
    if found.scheme not in ("http", "https") or not found.host or (target.scheme, found.scheme) == ("https", "http"):
        raise UnusableError("was sent on to something that is no http(s) URL, or from https to http")
    return found.with_user(None)


class Gate:
    """Makes the sockets of one request, for addresses that may be asked. The name, if it is trusted, passes with them all."""

    def __init__(self, host: str, access: Access) -> None:
        self._host, self._access = host, access
        self._refused: list[str] = []

    def __call__(self, address: Any) -> socket.socket:
        """A socket for this address (as `getaddrinfo` gives it). Raises OSError if it may not be asked."""
        family, kind, protocol, _, place = address
        if not self._access.trusts(self._host) and not self._access.admits(place[0]):
            self._refused.append(place[0])
            raise OSError("refused")
        return socket.socket(family, kind, protocol)

    def fault(self) -> ForbiddenError | None:
        """That the host was refused; None if it wasn't."""
        return _refusal(self._host, self._refused[0]) if self._refused else None


def _refusal(host: str, address: str) -> ForbiddenError:
    return ForbiddenError(
        f"forbidden: host {host!r} has {what_is(address)}, and data are read from the public internet alone; whoever runs"
        f" Agon can allow it: AGON_PRIVATE_HOSTS={host}"
    )


async def check(host: str, access: Access) -> None:
    """Raise ForbiddenError if a host's name leads to no address that may be asked; a name that is unknown here passes.

    For what this process doesn't connect to itself: a proxy does, or a worker. Raises UnusableError for what is no name.
    """
    if access.trusts(host):
        return
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return
    except ValueError:  # UnicodeError: a part of it is empty or longer than 63 characters
        raise UnusableError(f"names host {host[:80]!r}, which no name server can know") from None
    addresses = [str(item[4][0]) for item in found]
    if addresses and not any(access.admits(address) for address in addresses):
        raise _refusal(host, addresses[0])


def host_of(url: str) -> str:
    """As a request to the URL would name it. Raises UnusableError."""
    from yarl import URL

    try:
        return URL(url).host or ""
    except ValueError:
        raise UnusableError("is no valid URL") from None


def _session(gate: Gate | None) -> ClientSession:
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

    return ClientSession(
        connector=TCPConnector(socket_factory=gate, force_close=True, use_dns_cache=False),
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
        cookie_jar=DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},  # shards are compared byte for byte
        read_bufsize=BLOCK,
        trust_env=False,
    )


def _proxied(proxy: str | None) -> dict[str, Any]:
    from aiohttp import BasicAuth
    from yarl import URL

    if proxy is None:
        return {}
    url = URL(proxy if "://" in proxy else f"http://{proxy}")
    if url.scheme not in ("http", "https"):
        raise UnusableError(f"the environment names a {url.scheme} proxy for it; only http(s) proxies can be used here")
    login = BasicAuth(url.user, url.password or "") if url.user else None
    return {"proxy": url.with_user(None), "proxy_auth": login}


def _login(host: str) -> BasicAuth | None:
    """What netrc says for this very host; its `default` would go to any host that a URL names."""
    from aiohttp import BasicAuth

    with suppress(OSError, netrc.NetrcParseError):
        known = netrc.netrc(os.environ.get("NETRC") or str(Path("~/.netrc").expanduser())).hosts
        if found := known.get(host if host != "default" else ""):
            return BasicAuth(found[0], found[2] or "")
    return None


def fault(error: Exception) -> FetchError:
    """What an error of aiohttp means."""
    import aiohttp

    if isinstance(error, aiohttp.ClientHttpProxyError):
        return of_status(error.status) if error.status in (403, 407) else AwayError("the proxy can't reach the server")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return AwayError("the proxy that the environment names can't be reached")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return ForbiddenError("the server's certificate can't be trusted")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return AwayError("its host is not known to the name server, or that is away")
    if isinstance(error, TimeoutError):
        return AwayError("the server is too slow: no answer in time")
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return AwayError("the server refuses connections")
    if isinstance(error, aiohttp.ClientConnectorError):
        return AwayError("the server can't be reached")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return AwayError("the server cut its answer off")
    if isinstance(error, aiohttp.ClientResponseError):
        return UnusableError("the server's answer is no HTTP")
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return UnusableError("is no valid URL")
    return AwayError(f"can't be read ({type(error).__name__})")
