"""Reads every byte of a dataset and compares it with the manifest."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime

from service.bodies.datasets import DatasetCheck, ShardFault
from trainer.access import Access
from trainer.data.faults import AwayError
from trainer.data.fetch import Patience, chunks
from trainer.data.locate import Location, locate
from trainer.data.manifest import Shard, manifest_at
from trainer.errors import BadDataError, DataAwayError

MAX_FAULTS = 100


def check(url: str, digest: str, access: Access, patience: Patience, stop: threading.Event) -> DatasetCheck:
    """Every shard's size and SHA-256. Raises BadDataError if the manifest itself can't be read, DataAwayError if anything
    can't be reached: that says nothing about the data; and BadDataError once `stop` is set.

    patience: for the manifest; shards may take as long as they keep coming.
    """
    location = locate(url, access)
    manifest = manifest_at(location, patience)
    faults: list[ShardFault] = []
    if manifest.digest != digest:
        message = f"the dataset was registered with digest {digest}, now it is {manifest.digest}; register it anew"
        faults.append(ShardFault(shard="dataset.json", message=message))
    for shard in manifest.shards:
        if (message := _fault(location, shard, stop)) and len(faults) < MAX_FAULTS:
            faults.append(ShardFault(shard=shard.name, message=message))
    size = sum(shard.size for shard in manifest.shards)
    return DatasetCheck(
        ok=not faults, checked_at=datetime.now(UTC), shards=len(manifest.shards), bytes=size, faults=faults
    )


def _fault(location: Location, shard: Shard, stop: threading.Event) -> str:
    """What is wrong with the shard; empty if nothing is."""
    found, size = hashlib.sha256(), 0
    try:
        for chunk in chunks(location, shard.name, shard.size + 1):
            found.update(chunk)
            size += len(chunk)
            if stop.is_set():
                break
    except AwayError as error:
        raise DataAwayError(
            f"shard {shard.name} of {location.url}: {error}; try again once it can be reached"
        ) from None
    except (BadDataError, OSError) as error:
        return str(error)
    if stop.is_set():
        raise BadDataError(f"{location.url}: the check was given up")
    if size != shard.size:
        return f"has {size} bytes, not {shard.size}"
    return "" if found.hexdigest() == shard.sha256 else "was altered: its SHA-256 is not the manifest's"
