"""`python -m benchmarks.serving.clients URL MODEL N CLIENTS SECONDS SEED` (AGON_TOKEN): so many clients, each with one question after
another, in a process of their own.

Prints JSON: seconds of each answered question, what went wrong, and of the first seeds the images' SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import sys
import time
from collections import Counter
from typing import Any

import aiohttp
import numpy as np

KEPT = 8
"""Answers whose images are told, to be compared with what the package gives in a process."""


async def ask(session: aiohttp.ClientSession, url: str, question: dict[str, Any]) -> tuple[int, bytes]:
    """Status and body."""
    async with session.post(url, json=question) as response:
        return response.status, await response.read()


async def client(
    session: aiohttp.ClientSession, url: str, n: int, end: float, seeds: range, told: dict[str, Any]
) -> None:
    """Question after question until the time is over; every client has seeds of its own."""
    for seed in seeds:
        if time.perf_counter() >= end:
            return
        at = time.perf_counter()
        try:
            status, body = await ask(session, url, {"n": n, "seed": seed, "form": "npz"})
        except (aiohttp.ClientError, TimeoutError) as error:
            told["wrong"][type(error).__name__] += 1
            continue
        if status != 200:
            told["wrong"][str(status)] += 1
            await asyncio.sleep(0.05)
            continue
        told["seconds"].append(time.perf_counter() - at)
        told["last"] = time.perf_counter()
        if seed - seeds.start < 1 and len(told["images"]) < KEPT:
            with np.load(io.BytesIO(body), allow_pickle=False) as found:
                told["images"][str(seed)] = found["images"].tolist()
                told["digests"][str(seed)] = hashlib.sha256(body).hexdigest()


async def main(url: str, model: str, n: int, clients: int, seconds: float, seed: int) -> dict[str, Any]:
    """What they measured together."""
    name, _, version = model.partition("/")
    target = f"{url}/v1/models/{name}/generate" + (f"?version={version}" if version else "")
    headers = {"Authorization": f"Bearer {os.environ['AGON_TOKEN']}"}
    told: dict[str, Any] = {"seconds": [], "wrong": Counter(), "images": {}, "digests": {}, "last": 0.0}
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        begun = time.perf_counter()
        ranges = (range(seed + number * 1_000_000, seed + (number + 1) * 1_000_000) for number in range(clients))
        await asyncio.gather(*(client(session, target, n, begun + seconds, part, told) for part in ranges))
    return {**told, "whole": max(told["last"] - begun, 1e-9)}


if __name__ == "__main__":
    given = sys.argv[1:]
    found = asyncio.run(main(given[0], given[1], int(given[2]), int(given[3]), float(given[4]), int(given[5])))
    sys.stdout.write(json.dumps(found) + "\n")
