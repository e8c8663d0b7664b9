"""Where messages may go: what a URL may be, and which addresses its name may have.

A name is looked up once, for the connection that is made then; each address that it has is judged, by the same rule as those that
data are read from (`trainer.access`), and one that may not be asked refuses all of them. So no name can mean one address to the check
and another to the connection. Redirects aren't followed, and no proxy of the environment is used: it would look names up itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from service.settings import Settings
from trainer.access import Access, what_is
from trainer.proxies import is_loopback
from trainer.spec import FieldError

PLAIN_PORTS, FIRST_FREE_PORT = (80, 443), 1024
"""Ports below the first free one are other protocols'; who may name a URL must not make this process speak to those."""
FIX = "give the https URL of your receiver, e.g. https://hooks.example.com/agon"


def access(settings: Settings) -> Access:
    """Which addresses that are not public may be asked."""
    return Access(hosts=settings.webhooks_allow)


def wrong(url: str, settings: Settings) -> FieldError | None:
    """What a URL can't be whatever its name resolves to; None: it may be one."""
    message = _wrong(url, settings)
    if message is None:
        return None
    said, fix = message
    return FieldError(path="url", message=said, value=_shown(url), fix=fix)


def _wrong(url: str, settings: Settings) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no URL", FIX
    printable = url.isprintable() and not any(character.isspace() or character == "\\" for character in url)
    if not printable or not host or parts.scheme not in ("http", "https"):
        return "is no http(s) URL", FIX
    if "@" in parts.netloc:
        return "has a login in it", "take it out: the signature shows who sent a message"
    if parts.fragment or "#" in url:
        return "has a fragment, which is never sent", "take out what begins with #"
    if port is not None and port not in PLAIN_PORTS and port < FIRST_FREE_PORT:
        return f"names port {port}, which is another protocol's", "use 443, 80, or one from 1024 on"
    if address := _refused(host, access(settings)):
        allow = f"whoever runs Agon can allow it: AGON_WEBHOOKS_ALLOW={host}"
        return f"has host {host[:80]!r}, which is {address}; messages go to public addresses alone", allow
    if parts.scheme == "http" and not (settings.webhooks_http or _named(host, access(settings))):
        return (
            "is http, which anyone on the way can read",
            "use https; or whoever runs Agon sets AGON_WEBHOOKS_HTTP=true",
        )
    return None


def _shown(url: str) -> str:
    """Without a login."""
    head, at, tail = url.rpartition("@")
    return f"{head[:8]}…@{tail}"[:80] if at else url[:80]


def _refused(host: str, reach: Access) -> str:
    """What a host is that can be judged without looking its name up, and isn't allowed; empty: nothing is wrong with it so far."""
    if reach.trusts(host):
        return ""
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        if is_loopback(host):
            return "this machine"
        last = host.rstrip(".").rpartition(".")[2].lower()
        return "no address as it is written" if last.isdigit() or last.startswith("0x") else ""
    return "" if reach.admits(address) else what_is(address)


def _named(host: str, reach: Access) -> bool:
    """Whether the allow list has it."""
    if reach.trusts(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return reach.admits(str(address)) and not Access(hosts=()).admits(str(address))


class Door(AbstractResolver):
    """Looks up the name of one request, and makes the sockets for its addresses."""

    def __init__(self, host: str, reach: Access) -> None:
        self._host, self._reach = host, reach
        self.refused = ""
        """An address that may not be asked; empty: none was met."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError if the name is unknown, or has any address that may not be asked."""
        found = await _look_up(host, port)
        for _, _, _, _, place in found:
            self._judge(str(place[0]))
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=str(place[0]), port=port, family=kind, proto=protocol, flags=flags)
            for kind, _, protocol, _, place in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""

    def socket(self, address: Any) -> socket.socket:
        """For this address (as `getaddrinfo` gives it). Raises OSError if it may not be asked: a URL may have one for its name."""
        family, kind, protocol, _, place = address
        self._judge(str(place[0]))
        return socket.socket(family, kind, protocol)

    def _judge(self, address: str) -> None:
        if not self._reach.trusts(self._host) and not self._reach.admits(address):
            self.refused = address
            raise OSError("refused")

    def why(self) -> str:
        """Of what was refused, for a person; empty: nothing was."""
        if not self.refused:
            return ""
        return (
            f"not sent: host {self._host!r} has {what_is(self.refused)}, and messages go to public addresses alone; whoever runs "
            f"Agon can allow it: AGON_WEBHOOKS_ALLOW={self._host}"
        )


async def _look_up(host: str, port: int) -> list[Any]:
    """As `getaddrinfo`, in a thread of its own: a name server that hangs holds up nobody else, nor the end of the process."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()

    def tell(answer: list[Any] | BaseException) -> None:
        if not found.done():
            found.set_exception(answer) if isinstance(answer, BaseException) else found.set_result(answer)

    def look() -> None:
        answer: list[Any] | BaseException
        try:
            answer = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # UnicodeError, too: a part of the name is empty or longer than 63 characters
            answer = error if isinstance(error, OSError) else OSError("no name")
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, answer)

    threading.Thread(target=look, name="webhooks: name", daemon=True).start()
    return await found
