"""Folders that a run or a trial has made, looked at from outside: nothing is read, listed or removed that lies elsewhere."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

REMOVED = ".removed-"
"""What the name of a folder begins with that is being removed; a crash may leave it."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe keeps nobody waiting
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ESTALE, errno.ENXIO)


def inside(root: Path, folder: Path, name: str) -> Path | None:
    """The folder `name` of a job or trial, if no link on the way leads out of its own. root: what `folder` lies below."""
    here = folder / name
    try:
        found = here.resolve(strict=True)
        return found if found == root.resolve() / here.relative_to(root) else None
    except (OSError, ValueError):
        return None


def opened(path: Path) -> BinaryIO:
    """A regular file, which stays what it is if another takes its place. Raises OSError; FileNotFoundError for all that is no file."""
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise FileNotFoundError(f"{path} is no file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(f"{path} is no file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def take_away(path: Path) -> Path:
    """Hide a folder, so that it is gone at once for whoever looks; its new name, which is to be removed. Raises OSError."""
    aside = path.with_name(f"{REMOVED}{path.name}-{secrets.token_hex(4)}")
    path.rename(aside)
    return aside


def sync(path: Path) -> None:
    """Have what was renamed in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
