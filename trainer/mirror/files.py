"""What of a run's folder is copied, and in which order. Pure but for reading the folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from trainer.wire import JOB_FILE, SEARCH_FILE

LEDGER = ".mirror.json"
PROOFS = ("manifest.json", "checksums.json")
"""Of a folder, what proves the other files: written last."""
SECRET = (JOB_FILE, SEARCH_FILE)
"""They hold a token, and MLflow's address with whatever password is in it; trials' and the best one's do, too."""
LARGE, GROWN = 8 << 20, 1.25
"""A file that is longer, and grows, is copied again once it is so many times as long, or its run rests."""
_PASSING = re.compile(r"^(?:\..*|(?:stop|grow)-\d+|damaged-.*|.*\.tmp)$")
"""Names of what is there for a moment, or is nobody's any more."""
_CHECKPOINT = re.compile(r"^(?P<folder>(?:.+/)?checkpoints)/step-(?P<step>\d{9,})/(?P<name>[^/]+)$")
_GROWS = re.compile(r"\.(?:jsonl|log)$")


class Facts(NamedTuple):
    """Of a file, as it was seen."""

    size: int
    """Bytes."""
    changed: int
    """When, in ns."""


Known = Mapping[str, Facts]
"""By path below the folder, with `/`."""


def there(folder: Path) -> dict[str, Facts]:
    """What is to be copied of it as it is now. Links are not followed; a checkpoint that isn't complete is not there.

    Raises OSError if a folder can't be listed: what isn't seen is not gone.
    """
    found: dict[str, Facts] = {}

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError) or error.filename == str(folder):
            raise error

    for here, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not _PASSING.match(name))
        below = Path(here).relative_to(folder).as_posix()
        for name in names:
            file = Path(here) / name
            if _PASSING.match(name) or name in SECRET or file.is_symlink():
                continue
            try:
                facts = file.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            found[name if below == "." else f"{below}/{name}"] = Facts(facts.st_size, facts.st_mtime_ns)
    whole = {place for path in found if (place := _checkpoint(path)) and path.endswith(f"/{PROOFS[0]}")}
    return {path: facts for path, facts in found.items() if _checkpoint(path) in (None, *whole)}


def due(now: Known, copied: Known, *, rests: bool) -> list[str]:
    """What is to be copied: checkpoints first, the newest first, and of each folder its proof last."""
    paths = [path for path, facts in now.items() if _is_due(path, facts, copied.get(path), rests)]
    return sorted(paths, key=_turn)


def is_safe(path: str) -> bool:
    """Whether a path of the store leads nowhere but into a run's folder."""
    return bool(path) and all(part not in ("", ".", "..") for part in path.split("/")) and "\0" not in path


def gone(now: Known, copied: Known) -> list[str]:
    """What is to be removed of the copy, of each folder its proof first: what is left of it is no checkpoint then."""
    return sorted((path for path in copied if path not in now), key=lambda path: (not proves(path), path))


def wanted(paths: Sequence[str], past: Sequence[str] = ()) -> list[str]:
    """What a run goes on with: all but checkpoints, and of each folder of checkpoints the newest complete one that is not among
    `past` (folders of damaged ones)."""
    newest: dict[str, str] = {}
    for path in paths:
        place = _checkpoint(path)
        if place and place not in past and path.endswith(f"/{PROOFS[0]}"):
            folder = place.rpartition("/")[0]
            newest[folder] = max(newest.get(folder, ""), place, key=_step)
    chosen = set(newest.values())
    return [path for path in paths if _checkpoint(path) in (None, *chosen)]


def proved(paths: Sequence[str]) -> Iterator[str]:
    """The folders of checkpoints that have their manifest among the paths."""
    for path in paths:
        if (place := _checkpoint(path)) and path.endswith(f"/{PROOFS[0]}"):
            yield place


def _checkpoint(path: str) -> str | None:
    """The folder of the checkpoint that a file is of."""
    found = _CHECKPOINT.match(path)
    return f"{found['folder']}/step-{found['step']}" if found else None


def _step(place: str) -> int:
    return int(place.rpartition("-")[2] or -1) if place else -1


def proves(path: str) -> bool:
    """Whether the file proves the others of its folder."""
    return PurePosixPath(path).name in PROOFS


def _turn(path: str) -> tuple[bool, int, str, bool, str]:
    place = _checkpoint(path)
    folder = path.rpartition("/")[0]
    return place is None, -_step(place) if place else 0, folder, proves(path), path


def _is_due(path: str, now: Facts, known: Facts | None, rests: bool) -> bool:
    if known is None or now == known:
        return known is None
    grows = _GROWS.search(path) and known.size >= LARGE and now.size > known.size
    return rests or not grows or now.size >= GROWN * known.size
