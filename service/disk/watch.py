"""Says in the log when the disk that runs lie on is nearly full, before it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.disk.gauge import Fill, Gauge
from service.elsewhere import Elsewhere, Errand
from service.errors import Unavailable

EVERY_SECONDS = 60.0
logger = logging.getLogger("agon.disk")


async def watch(
    gauge: Gauge, elsewhere: Elsewhere, low: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Look now and then, for ever. Told once when it is low, and once when it isn't any more."""
    told = False
    while low > 0:
        with suppress(OSError, Unavailable):  # of a disk that doesn't answer nothing can be said
            fill = await elsewhere.disk.run(gauge.fill, errand=Errand("watch"))
            if fill.is_low(low) != told:
                told = not told
                facts = {"free": fill.free, "total": fill.total}
                if told:
                    logger.warning(warning(fill), extra={"facts": facts})
                else:
                    logger.info("the disk of the runs has room again", extra={"facts": facts})
        await sleep(EVERY_SECONDS)


def warning(fill: Fill) -> str:
    """For a person."""
    return (
        f"the disk of the runs is nearly full: {_bytes(fill.free)} of {_bytes(fill.total)} are free;"
        " POST /v1/gc says what can go"
    )


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
