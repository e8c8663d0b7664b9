"""One attempt to deliver a message: signed, posted, its answer read, all of it within one deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Protocol

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from standardwebhooks import Webhook as Signer
from yarl import URL

from service.webhooks.addresses import Door
from service.webhooks.schedule import Answer
from trainer.access import Access
from trainer.data.http import fault

SECONDS = 20.0
"""For looking up the name, connecting, sending and the whole answer together; the specification says 15 to 30."""
MOST_BYTES = 16 * 1024
"""Of an answer are read; what it says isn't kept."""


def headers(id_: str, body: str, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """Of one attempt, signed with each of the secrets."""
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Agon/{version('agon')}",
        "webhook-id": id_,
        "webhook-timestamp": str(math.floor(now.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(id_, now, body) for secret in secrets),
    }


class Post(Protocol):
    """Posts a body to a URL. Raises nothing."""

    async def __call__(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        """What came of it."""
        ...


class HttpPost:
    """Over http(s), to addresses that may be asked alone."""

    def __init__(self, reach: Access, seconds: float = SECONDS) -> None:
        self._reach, self._seconds = reach, seconds

    async def __call__(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        """What came of it; what the receiver says is never quoted."""
        try:
            target = URL(url)
            door = Door(target.host or "", self._reach)
        except ValueError:
            return Answer(error="the URL is not valid")
        try:
            async with asyncio.timeout(self._seconds):
                return await _post(target, door, headers, body)
        except TimeoutError:
            return Answer(error=f"no whole answer within {self._seconds:g} s")
        except Exception as error:  # its text may hold what the receiver sent
            return Answer(error=door.why() or str(fault(error)))


async def _post(target: URL, door: Door, headers: Mapping[str, str], body: str) -> Answer:
    connector = TCPConnector(resolver=door, socket_factory=door.socket, force_close=True, use_dns_cache=False)
    session = ClientSession(
        connector=connector,
        timeout=ClientTimeout(total=None),  # that of all of it is the caller's
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
    async with session, session.post(target, data=body.encode(), headers=headers, allow_redirects=False) as response:
        left = MOST_BYTES
        while left > 0 and (block := await response.content.read(left)):
            left -= len(block)
        return Answer(response.status, retry_after=retry_after(response.headers.get("Retry-After"), datetime.now(UTC)))


def retry_after(given: str | None, now: datetime) -> float | None:
    """Seconds from now (RFC 9110, 10.2.3: seconds, or a date), ≥ 0; None: it says nothing that can be read."""
    text = (given or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp())
    except (TypeError, ValueError, OverflowError):
        return None
