"""Checkpoints with the meta data of a training, without training."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def state(shapes: Mapping[str, Sequence[int]]) -> bytes:
    """A safetensors file of zeros."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def trained(
    folder: Path,
    spec: Mapping[str, Any],
    step: int,
    *,
    images: int | None = None,
    rollbacks: int = 0,
    dataset: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    place: str = "checkpoints",
) -> Path:
    """The checkpoint of a step in the folder of a job or a trial, as a training of `spec` would have written it."""
    path = folder / place / f"step-{step:09d}"
    path.mkdir(parents=True)
    clock = {"step": step, "images": 64 * step if images is None else images}
    meta = {"clock": clock, "extras": {"dataset": dataset}, "rollbacks": rollbacks, "spec": dict(spec)}
    files = {
        "state.safetensors": state(shapes or {"net/G/w": [step], "net/D/w": [2]}),
        "meta.json": json.dumps(meta).encode(),
    }
    for name, content in files.items():
        (path / name).write_bytes(content)
    facts = {name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()}
    (path / "manifest.json").write_text(json.dumps({"format": 1, "step": step, "files": facts}))
    return path


def record(folder: Path, name: str, content: Any) -> None:
    """A file beside the checkpoints: `best.json`, `rollbacks.json`."""
    (folder / "checkpoints" / name).write_text(json.dumps(content))
