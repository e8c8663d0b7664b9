"""What makes a checkpoint complete: `manifest.json`, written last, with the size and SHA-256 of the other files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from trainer.errors import CheckpointError
from trainer.schema import Frozen

STATE, META, MANIFEST = "state.safetensors", "meta.json", "manifest.json"


class FileFacts(Frozen):
    """One file of a checkpoint."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Frozen):
    """`manifest.json`."""

    format: Literal[1] = 1
    step: int = Field(ge=0)
    files: dict[str, FileFacts]


def facts(path: Path) -> FileFacts:
    """Size and hash of a file, read in pieces."""
    with path.open("rb") as file:
        return FileFacts(size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def verify(folder: Path) -> Manifest:
    """The manifest of a complete and undamaged checkpoint. Raises CheckpointError that says what is wrong with it."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no {MANIFEST}: its writing was interrupted") from error
    except ValidationError as error:
        raise CheckpointError(f"{folder / MANIFEST} is damaged or of another version") from error
    for name in (STATE, META):
        try:
            found = facts(folder / name)
        except FileNotFoundError as error:
            raise CheckpointError(f"{folder / name} is missing") from error
        if manifest.files.get(name) != found:
            raise CheckpointError(f"{folder / name} is damaged: its size or SHA-256 differs from the manifest's")
    return manifest
