"""One pass over a run's folder: what is new goes to the copy, what is gone leaves it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from trainer.mirror import files
from trainer.mirror.files import LEDGER, Facts
from trainer.mirror.place import MissingError, Place
from trainer.schema import Frozen

SAVE_EVERY = 256
"""Files after which it is written down what the copy has: a pass that dies begins again there."""


class Ledger(Frozen):
    """`.mirror.json`: what a copy has of a folder."""

    url: str = ""
    """Where that copy is: with another place nothing is known."""
    files: dict[str, Facts] = Field(default_factory=dict)
    wrong: dict[str, Facts] = Field(default_factory=dict)
    """Proofs that weren't copied because what they prove is not so, as they were."""


class Pass(NamedTuple):
    """What one did."""

    copied: int
    bytes: int
    removed: int
    whole: bool
    """Whether it came to its end; else it was told to stop."""
    wrong: tuple[str, ...] = ()
    """Files that are here or there not what their proof says, for a person; the proof is not there then."""


def copy(
    folder: Path,
    place: Place,
    prefix: str,
    *,
    rests: bool,
    check: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Pass:
    """Bring the copy at `prefix` up to the folder. rests: nothing writes there any more. check: ask the store what it has.

    What failed or was stopped goes on with the next pass. Raises MirrorError, OSError.
    """
    ledger, now = _read(folder, place.url), files.there(folder)
    known, wrong = dict(ledger.files), {path: facts for path, facts in ledger.wrong.items() if now.get(path) == facts}
    if check and known:
        has = place.sizes(prefix)
        known = {path: facts for path, facts in known.items() if has.get(path) == facts.size}
    copied = size = 0
    said: list[str] = []
    try:
        for path in files.due(now, known, rests=rests):
            if stop():
                return Pass(copied, size, 0, whole=False, wrong=tuple(said))
            if path in wrong:
                continue
            try:
                if files.proves(path) and (unlike := _unlike(folder, place, prefix, path)):
                    said, wrong[path] = [*said, *unlike], now[path]
                    continue
                place.put(folder / path, f"{prefix}/{path}")
            except FileNotFoundError:  # removed meanwhile
                continue
            known[path] = now[path]
            copied, size = copied + 1, size + now[path].size
            if copied % SAVE_EVERY == 0:
                _write(folder, Ledger(url=place.url, files=known, wrong=wrong))
        removed = [path for path in files.gone(now, known) if not _is_there(folder / path)]
        place.remove(f"{prefix}/{path}" for path in removed)
        for path in removed:
            del known[path]
    finally:
        if (after := Ledger(url=place.url, files=known, wrong=wrong)) != ledger:  # of most passes nothing came
            _write(folder, after)
    return Pass(copied, size, len(removed), whole=True, wrong=tuple(said))


def _is_there(path: Path) -> bool:
    """Raises OSError where that can't be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def forget(place: Place, prefix: str) -> None:
    """Remove all of a copy."""
    place.remove(f"{prefix}/{path}" for path in files.gone({}, dict.fromkeys(place.sizes(prefix), Facts(0, 0))))


def remember(folder: Path, url: str, paths: Mapping[str, Facts]) -> None:
    """Write down that the copy there has these."""
    _write(folder, Ledger(url=url, files={**_read(folder, url).files, **paths}))


def _unlike(folder: Path, place: Place, prefix: str, proof: str) -> list[str]:
    """Which of the files that it proves are not so in the store, from where they are read back. One that is another is copied once more."""
    below = f"{proof.rpartition('/')[0]}/".lstrip("/")
    found = []
    try:
        told = _told(json.loads((folder / proof).read_bytes()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return [f"{proof} proves nothing: {type(error).__name__}"]
    for name, digest in told.items():
        path, key = f"{below}{name}", f"{prefix}/{below}{name}"
        if not files.is_safe(path) or not _is_there(folder / path):
            found.append(f"{path}, which {proof} names, is not there")
            continue
        try:
            if place.digest(key) == digest:
                continue
        except MissingError:  # it was no file that is copied, or somebody removed it there
            pass
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


def _read(folder: Path, url: str) -> Ledger:
    """What the copy there has; nothing if that was lost, or is of another place: all is copied again then."""
    try:
        found = Ledger.model_validate_json((folder / LEDGER).read_bytes())
    except (OSError, ValidationError):
        return Ledger(url=url)
    return found if found.url == url else Ledger(url=url)


def _write(folder: Path, ledger: Ledger) -> None:
    if not folder.is_dir():  # deleted meanwhile
        return
    aside = folder / f"{LEDGER}.{os.getpid()}"
    aside.write_text(ledger.model_dump_json())
    aside.replace(folder / LEDGER)
