"""One pass over a run's folder: what is new goes to the copy, what is gone leaves it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from trainer.mirror import files
from trainer.mirror.files import LEDGER, Facts
from trainer.mirror.place import MirrorError, Place

SAVE_EVERY = 64
"""Files after which it is written down what the copy has: a pass that dies begins again there."""
_LEDGER = TypeAdapter(dict[str, Facts])


class Pass(NamedTuple):
    """What one did."""

    copied: int
    bytes: int
    removed: int
    whole: bool
    """Whether it came to its end; else it was told to stop."""
    wrong: tuple[str, ...] = ()
    """Files that are here or there not what their proof says, for a person; the proof is not there then."""


def copy(folder: Path, place: Place, prefix: str, *, rests: bool, stop: Callable[[], bool] = lambda: False) -> Pass:
    """Bring the copy at `prefix` up to the folder. rests: nothing writes there any more.

    What failed or was stopped goes on with the next pass. Raises MirrorError, OSError.
    """
    known, now = _read(folder), files.there(folder)
    copied = size = 0
    wrong: list[str] = []
    for path in files.due(now, known, rests=rests):
        if stop():
            _write(folder, known)
            return Pass(copied, size, 0, whole=False)
        try:
            if files.proves(path) and (unlike := _unlike(folder, place, prefix, path)):
                wrong += unlike
                continue
            place.put(folder / path, f"{prefix}/{path}")
        except FileNotFoundError:  # removed meanwhile
            continue
        except MirrorError:
            _write(folder, known)
            raise
        known[path] = now[path]
        copied, size = copied + 1, size + now[path].size
        if copied % SAVE_EVERY == 0:
            _write(folder, known)
    removed = files.gone(now, known)
    try:
        place.remove(f"{prefix}/{path}" for path in removed)
        for path in removed:
            del known[path]
    finally:
        _write(folder, known)
    return Pass(copied, size, len(removed), whole=True, wrong=tuple(wrong))


def forget(place: Place, prefix: str) -> None:
    """Remove all of a copy."""
    place.remove(f"{prefix}/{path}" for path in files.gone({}, dict.fromkeys(place.sizes(prefix), Facts(0, 0))))


def remember(folder: Path, paths: Mapping[str, Facts]) -> None:
    """Write down that the copy has these."""
    _write(folder, {**_read(folder), **paths})


def _unlike(folder: Path, place: Place, prefix: str, proof: str) -> list[str]:
    """Which of the files that it proves are not so in the store, from where they are read back. One that is another is copied once more."""
    below = f"{proof.rpartition('/')[0]}/".lstrip("/")
    found = []
    for name, digest in _told(json.loads((folder / proof).read_bytes())).items():
        path, key = f"{below}{name}", f"{prefix}/{below}{name}"
        if place.digest(key) == digest:
            continue
        place.put(folder / path, key)
        if place.digest(key) != digest:
            found.append(f"{path} is damaged: its SHA-256 is not the one in {proof}")
    return found


def _told(proof: dict[str, object]) -> dict[str, str]:
    """SHA-256 by name, of a manifest or of checksums."""
    listed = proof.get("files")
    if isinstance(listed, dict):
        return {name: facts["sha256"] for name, facts in listed.items()}
    return {name: str(digest) for name, digest in proof.items()}


def _read(folder: Path) -> dict[str, Facts]:
    """What the copy has; nothing if that was lost: all is copied again then."""
    try:
        return _LEDGER.validate_json((folder / LEDGER).read_bytes())
    except (OSError, ValidationError):
        return {}


def _write(folder: Path, known: Mapping[str, Facts]) -> None:
    if not folder.is_dir():  # deleted meanwhile
        return
    aside = folder / f"{LEDGER}.{os.getpid()}"
    aside.write_bytes(_LEDGER.dump_json(dict(known)))
    aside.replace(folder / LEDGER)
