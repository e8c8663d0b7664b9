"""A run whose folder is not here goes on with its copy: on another cluster, or after the volume was lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trainer.checkpoint.manifest import verify
from trainer.errors import CheckpointError
from trainer.mirror import files
from trainer.mirror.copying import remember
from trainer.mirror.place import Place

ASIDE = ".bringing-"
MARK = "events.jsonl"
"""A folder that has it is the run's own: nothing is brought into it. It comes last."""


def bring_back(folder: Path, place: Place, prefix: str) -> list[str]:
    """Bring the copy at `prefix` into a run's folder that has none of it: all but older checkpoints. Returns what a person should
    hear; empty if there was nothing to do.

    Of damaged checkpoints it takes the next older one. Killed at any point, it begins again. Raises MirrorError, OSError.
    """
    if (folder / MARK).exists():
        return []
    paths = sorted(place.sizes(prefix))
    if not paths:
        return []
    for old in folder.glob(f"{ASIDE}*"):
        shutil.rmtree(old, ignore_errors=True)
    aside = folder / f"{ASIDE}{os.getpid()}"
    damaged: list[str] = []
    try:
        while True:
            wanted = [path for path in files.wanted(paths, damaged) if not (aside / path).exists()]
            for path in wanted:
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                place.get(f"{prefix}/{path}", aside / path)
            found = [one for one in files.proved(files.wanted(paths, damaged)) if not _is_whole(aside / one)]
            if not found:
                break
            damaged += found
            for one in found:
                shutil.rmtree(aside / one, ignore_errors=True)
        _install(aside, folder, files.wanted(paths, damaged), place.url)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    said = [f"its folder was brought back from {place.url}/{prefix}"]
    return said + [f"the copy of {one} is damaged, an older one is taken" for one in damaged]


def _is_whole(checkpoint: Path) -> bool:
    try:
        verify(checkpoint)
    except CheckpointError:
        return False
    return True


def _install(aside: Path, folder: Path, paths: list[str], url: str) -> None:
    """What is in the folder already stays."""
    for path in sorted(paths, key=lambda path: (path == MARK, path.rpartition("/")[2] in files.PROOFS, path)):
        if not (folder / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).rename(folder / path)
    there = files.there(folder)
    remember(folder, url, {path: there[path] for path in paths if path in there})
