"""Checkpoints as a training writes them, without training."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

FILES = ("state.safetensors", "meta.json")


def save(folder: Path, step: int, *, images: int | None = None, state: bytes | None = None) -> Path:
    """The checkpoint of a step in the folder of a job or a trial: any bytes for its state, of that step's seed by default."""
    path = folder / "checkpoints" / f"step-{step:09d}"
    path.mkdir(parents=True)
    meta = {"clock": {"step": step, "images": 64 * step if images is None else images}, "rollbacks": 0}
    contents = (random.Random(step).randbytes(1000) if state is None else state, json.dumps(meta).encode())
    for name, content in zip(FILES, contents, strict=True):
        (path / name).write_bytes(content)
    facts = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in zip(FILES, contents, strict=True)
    }
    (path / "manifest.json").write_text(json.dumps({"format": 1, "step": step, "files": facts}))
    return path


def best(folder: Path, step: int, value: float = 1.0) -> None:
    """Write down which is the best."""
    (folder / "checkpoints" / "best.json").write_text(json.dumps({"step": step, "metric": "fid", "value": value}))
