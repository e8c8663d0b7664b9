"""Pinning a checkpoint: a second name of its files, in `pinned/`, which training doesn't know.

A checkpoint's files are never written to again, so hard links cost no space, and whatever removes the training's own names of them
(its policy, a roll back, a clone, whoever deletes) can't touch what is pinned, at whatever moment it is pinned.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from service.runs.checkpoints import CHECKPOINTS, PINNED, Checkpoint, link, look, step_name
from service.runs.places import inside, sync, take_away


def pin(root: Path, folder: Path, checkpoint: Checkpoint) -> bool:
    """Keep it until it is unpinned. Asked twice, it is pinned once. False if it is gone meanwhile. Raises OSError."""
    (folder / PINNED).mkdir(mode=0o700, exist_ok=True)
    place = inside(root, folder, PINNED)
    if place is None:
        raise OSError(f"{folder / PINNED} leads elsewhere")
    target = place / step_name(checkpoint.step)
    if look(target, checkpoint.step) is not None:
        return True
    aside = place / f".pinning-{target.name}-{secrets.token_hex(4)}"
    try:
        if not link(checkpoint.path, aside):
            return False
        try:
            aside.rename(target)
        except OSError:  # another caller was faster
            return look(target, checkpoint.step) is not None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    sync(place)
    return True


def unpin(root: Path, folder: Path, step: int) -> Path | None:
    """Keep it no longer than training does. Returns what is left to be removed; None: it wasn't pinned. Raises OSError."""
    return _take_away(root, folder, PINNED, step)


def delete(root: Path, folder: Path, step: int) -> Path | None:
    """Take away the training's own, as `unpin` does; one that is pinned stays. Raises OSError."""
    return _take_away(root, folder, CHECKPOINTS, step)


def _take_away(root: Path, folder: Path, name: str, step: int) -> Path | None:
    place = inside(root, folder, name)
    if place is None or look(place / step_name(step), step) is None:
        return None
    try:
        aside = take_away(place / step_name(step))
    except FileNotFoundError:
        return None  # another was faster
    sync(place)
    return aside
