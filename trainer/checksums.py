"""`checksums.json`: what proves that a package is whole, and as it was published. Torch-free."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

CHECKSUMS = "checksums.json"


def write_checksums(folder: Path) -> None:
    """SHA-256 of every file of the folder by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    table = {path.relative_to(folder).as_posix(): _digest(path) for path in files}
    (folder / CHECKSUMS).write_text(json.dumps(table, indent=2) + "\n")


class NoPackageError(ValueError):
    """A folder that was never one of our packages, or not all of one."""


def verify_checksums(folder: Path) -> None:
    """Raise ValueError, naming the files, unless every file is there and as it was published; NoPackageError without a list of them."""
    if not (folder / CHECKSUMS).is_file():
        raise NoPackageError(f"{folder}: has no {CHECKSUMS}; it is no package, or its download broke off")
    table: dict[str, str] = json.loads((folder / CHECKSUMS).read_text())
    wrong = [
        name for name, digest in table.items() if not (folder / name).is_file() or _digest(folder / name) != digest
    ]
    if wrong:
        raise ValueError(f"{folder}: {', '.join(wrong)} missing or altered; download the model again")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
