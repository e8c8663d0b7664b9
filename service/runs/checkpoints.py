"""Complete checkpoints of a job's or trial's folder, as the control plane sees them: it reads no state.

They lie in `checkpoints/`, where training writes them and removes the superseded ones, and in `pinned/`, which training doesn't
know (`service.runs.pins`). What a person pinned is what its step means, whatever training made of that step since.
A checkpoint's files are never written to again: each name of them, a hard link, stands for the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, Field, ValidationError

from service.runs.places import inside, opened

CHECKPOINTS, PINNED = "checkpoints", "pinned"
MANIFEST, META, BEST = "manifest.json", "meta.json", "best.json"
"""The manifest is written last, so a checkpoint that has one is complete."""
MOST_STEP = 10**18
MOST_FILES = 16
MOST_JSON = 4 * 1024 * 1024
"""Bytes of a checkpoint's JSON file that are read."""
_STEP = re.compile(r"^step-(\d{9,18})$")
_FILE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.(?:safetensors|json)$")
"""Names of files that a checkpoint may have: no pickle is ever listed or given away."""
Which = int | Literal["latest", "best"]
"""A step, or the checkpoint that training would go on from, or the one with the best score."""


class FileFacts(BaseModel):
    """A file, as the manifest has it."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Manifest(BaseModel):
    step: int
    files: dict[str, FileFacts] = Field(max_length=MOST_FILES)


class _Ranked(BaseModel):
    step: int = Field(ge=0, lt=MOST_STEP)


class _Best(_Ranked):
    behind: tuple[_Ranked, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A complete one. Sizes are as the manifest says; the hashes are only proved by whoever reads the files."""

    path: Path
    step: int
    files: dict[str, FileFacts]
    """Without the manifest."""
    size: int
    """Bytes of all its files."""
    written: datetime
    tag: str
    """SHA-256 of its manifest: another checkpoint has another."""


def complete(folder: Path) -> list[Path]:
    """The folders of those that training keeps, newest first."""
    found = sorted(_steps(folder / CHECKPOINTS).items(), reverse=True)
    return [path for step, path in found if look(path, step) is not None]


def newest(folder: Path) -> Path | None:
    """The one that training would go on from."""
    found = sorted(_steps(folder / CHECKPOINTS).items(), reverse=True)
    return next((path for step, path in found if look(path, step) is not None), None)


def find(root: Path, folder: Path, which: Which) -> Checkpoint | None:
    """That checkpoint of a job or trial; None if there is none. root: what `folder` lies below, without a link between."""
    if which == "latest":
        return next(every(root, folder, pinned=False), None) or next(every(root, folder), None)
    step = best(root, folder) if which == "best" else which
    if step is None or not 0 <= step < MOST_STEP:
        return None
    for place in (PINNED, CHECKPOINTS):
        here = inside(root, folder, place)
        if here is not None and (found := look(here / step_name(step), step)) is not None:
            return found
    return None


def every(root: Path, folder: Path, before: int | None = None, *, pinned: bool = True) -> Iterator[Checkpoint]:
    """All, of steps below `before`, newest first; pinned: also those that only a pin keeps."""
    steps: dict[int, Path] = {}
    for place in (CHECKPOINTS, PINNED) if pinned else (CHECKPOINTS,):
        here = inside(root, folder, place)
        steps |= _steps(here) if here is not None else {}
    for step, path in sorted(steps.items(), reverse=True):
        if before is None or step < before:
            # One that training removes just now may have been pinned: then it is found there.
            found = look(path, step) or (find(root, folder, step) if pinned else None)
            if found is not None:
                yield found


def named(root: Path, folder: Path) -> list[int]:
    """The steps of which a folder has the name, newest first; whether they are complete is not looked at."""
    places = [here for place in (CHECKPOINTS, PINNED) if (here := inside(root, folder, place)) is not None]
    return sorted({step for here in places for step in _steps(here)}, reverse=True)


def best(root: Path, folder: Path) -> int | None:
    """The step of the best one, as training wrote it down; None: none was scored. Whether it is still there isn't looked at."""
    return next(iter(ranked(root, folder)), None)


def ranked(root: Path, folder: Path) -> tuple[int, ...]:
    """The steps of those with the best scores, the best first, as training wrote them down."""
    here = inside(root, folder, CHECKPOINTS)
    try:
        found = _Best.model_validate_json(_small(here / BEST)) if here is not None else None
    except (OSError, ValidationError):
        return ()
    return (found.step, *(other.step for other in found.behind)) if found is not None else ()


def pins(root: Path, folder: Path) -> set[int]:
    """The steps that are pinned."""
    here = inside(root, folder, PINNED)
    return {step for step, path in _steps(here).items() if look(path, step) is not None} if here is not None else set()


def look(path: Path, step: int) -> Checkpoint | None:
    """What lies there, if it is a complete checkpoint of that step, in a folder of its own."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return None
        content = _small(path / MANIFEST)
        manifest = _Manifest.model_validate_json(content)
        if manifest.step != step or not all(map(_FILE.match, manifest.files)) or MANIFEST in manifest.files:
            return None
        for name, facts in manifest.files.items():
            about = (path / name).lstat()
            if not stat.S_ISREG(about.st_mode) or about.st_size != facts.size:
                return None
        written = datetime.fromtimestamp((path / MANIFEST).lstat().st_mtime, UTC)
    except (OSError, ValidationError, ValueError, OverflowError):
        return None
    size = len(content) + sum(facts.size for facts in manifest.files.values())
    return Checkpoint(path, step, manifest.files, size, written, hashlib.sha256(content).hexdigest())


def images(checkpoint: Checkpoint) -> int | None:
    """Real images shown at its step; None where its file doesn't say."""
    try:
        shown = json.loads(_small(checkpoint.path / META))["clock"]["images"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return shown if type(shown) is int and 0 <= shown < 2**63 else None


def open_files(checkpoint: Checkpoint) -> dict[str, BinaryIO]:
    """Its files, open, the manifest last: they stay what they are if the checkpoint is removed meanwhile.

    Raises FileNotFoundError if it has been, or isn't what it was.
    """
    found: dict[str, BinaryIO] = {}
    try:
        for name in (*sorted(checkpoint.files), MANIFEST):
            found[name] = opened(checkpoint.path / name)
            if name != MANIFEST and os.fstat(found[name].fileno()).st_size != checkpoint.files[name].size:
                raise FileNotFoundError(f"{checkpoint.path / name} has changed")
        if hashlib.sha256(found[MANIFEST].read(MOST_JSON)).hexdigest() != checkpoint.tag:
            raise FileNotFoundError(f"{checkpoint.path} has been written anew")
        found[MANIFEST].seek(0)
    except BaseException:
        for file in found.values():
            file.close()
        raise
    return found


def link(source: Path, target: Path) -> bool:
    """The checkpoint in a second folder: hard links, where the file system has none copies.

    False, and no folder, if it is removed meanwhile, or is none. Raises OSError, FileExistsError if `target` is there.
    """
    match = _STEP.match(source.name)
    found = look(source, int(match[1])) if match else None
    target.mkdir(mode=0o700)
    try:
        for name in (*sorted(found.files), MANIFEST) if found is not None else ():
            _link(source / name, target / name)
        whole = found is not None and (there := look(target, found.step)) is not None and there.tag == found.tag
    except FileNotFoundError:
        whole = False
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    if not whole:
        shutil.rmtree(target, ignore_errors=True)
    return whole


def step_name(step: int) -> str:
    """Name of the folder of a step."""
    return f"step-{step:09d}"


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target, follow_symlinks=False)


def _steps(folder: Path) -> dict[int, Path]:
    """Folders that have the name of a checkpoint, by step; whether they are complete is not looked at."""
    try:
        with os.scandir(folder) as entries:
            named = [(int(match[1]), Path(entry.path)) for entry in entries if (match := _STEP.match(entry.name))]
    except OSError:
        return {}
    return {step: path for step, path in named if path.name == step_name(step)}


def _small(path: Path) -> bytes:
    """A small file. Raises OSError."""
    with opened(path) as file:
        content = file.read(MOST_JSON + 1)
    if len(content) > MOST_JSON:
        raise OSError(f"{path} is too long")
    return content
