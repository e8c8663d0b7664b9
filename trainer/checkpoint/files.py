"""Writing and reading checkpoints. A reader sees a whole checkpoint or none, whenever the writer dies.

directory/step-000000123/{state.safetensors, meta.json, manifest.json}
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.checkpoint.manifest import MANIFEST, META, STATE, Manifest, facts, verify
from trainer.errors import CheckpointError

LOG = logging.getLogger(__name__)
ASIDE = ".writing-"
DAMAGED = "damaged-"
_STEP = re.compile(r"^step-(\d{9,})$")


def step_path(directory: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return directory / f"step-{step:09d}"


def steps(directory: Path) -> list[int]:
    """Steps that have a checkpoint folder, ascending; whether they are complete is not looked at."""
    if not directory.is_dir():
        return []
    return sorted(int(found.group(1)) for entry in directory.iterdir() if (found := _STEP.match(entry.name)))


def write(directory: Path, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Path:
    """Write a checkpoint and return its folder. An undamaged one of that step that is there already is kept as it is.

    `tensors` are contiguous and on the CPU. Raises OSError (disk full: errno 28); nothing half-written stays then, and
    the other checkpoints are untouched.
    """
    final = step_path(directory, step)
    if final.exists() and _undamaged(final):
        return final
    directory.mkdir(parents=True, exist_ok=True)
    aside = directory / f"{ASIDE}{final.name}-{os.getpid()}"
    try:
        aside.mkdir()
        _save(tensors, aside / STATE)
        _put(aside / META, json.dumps(meta, indent=1).encode())
        files = {name: facts(aside / name) for name in (STATE, META)}
        _put(aside / MANIFEST, Manifest(step=step, files=files).model_dump_json(indent=1).encode())
        _sync(aside)
        if final.exists():
            shutil.rmtree(final)  # damaged: the rename needs its place
        aside.rename(final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync(directory)
    return final


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU and the meta data. Raises CheckpointError if the checkpoint is incomplete or damaged."""
    verify(path)
    tensors: dict[str, Tensor] = load_file(path / STATE)
    meta: dict[str, Any] = json.loads((path / META).read_bytes())
    return tensors, meta


def latest(directory: Path) -> Path | None:
    """The newest complete and undamaged checkpoint; damaged ones are logged and passed over. None if there is none."""
    found, damaged = survey(directory)
    for path, reason in damaged.items():
        LOG.warning("%s is passed over: %s", path, reason)
    return found


def survey(directory: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest undamaged checkpoint and, for each newer one, what is wrong with it."""
    damaged: dict[Path, str] = {}
    for step in reversed(steps(directory)):
        path = step_path(directory, step)
        try:
            verify(path)
        except CheckpointError as error:
            damaged[path] = str(error)
        else:
            return path, damaged
    return None, damaged


def clear_leftovers(directory: Path) -> None:
    """Remove what writers that died left aside. Only for a directory's one writer."""
    if directory.is_dir():
        for entry in directory.iterdir():
            if entry.name.startswith(ASIDE):
                shutil.rmtree(entry, ignore_errors=True)


def put_json(path: Path, value: object) -> None:
    """Replace a small JSON file; a reader sees the old or the new one."""
    aside = path.with_name(f"{ASIDE}{path.name}")
    _put(aside, json.dumps(value).encode())
    aside.replace(path)
    _sync(path.parent)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # safetensors wraps the system's error in its own
        if number is None:
            raise
        code = int(number.group(1))
        raise OSError(code, os.strerror(code), str(path)) from error
    _sync(path)


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _undamaged(path: Path) -> bool:
    try:
        verify(path)
    except CheckpointError:
        return False
    return True
