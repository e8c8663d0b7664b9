"""The weights of a package as a checkpoint that a training can begin with. Torch-free: tensors are copied as bytes.

A package holds what draws, not what trained: G (its average, where there was one), E, and D if it was imported with it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainer.errors import CheckpointError
from trainer.origin.facts import MANIFEST, META, STATE, Facts, header, shapes
from trainer.spec import JobSpec, SpecError, load_spec

WEIGHTS = {"G": "model.safetensors", "E": "encoder.safetensors", "D": "discriminator.safetensors"}
CONFIG, CHECKSUMS, SPEC = "config.json", "checksums.json", "spec.yaml"
CHUNK = 1 << 20
SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Bytes of an item; what isn't here is one."""


@dataclass(frozen=True)
class _Tensor:
    name: str
    file: Path
    facts: dict[str, Any]
    begin: int
    size: int


def is_package(folder: Path) -> bool:
    """Whether it looks like one."""
    return all((folder / name).is_file() for name in (CONFIG, WEIGHTS["G"], SPEC))


def about(folder: Path) -> tuple[Facts, dict[str, tuple[int, ...]]]:
    """The package's spec, as of step 0, and the shapes of its nets, `net/G/…`. Raises CheckpointError."""
    found: dict[str, tuple[int, ...]] = {}
    for player, file in _files(folder).items():
        found |= {f"net/{player}/{name}": shape for name, shape in shapes(file).items()}
    return Facts(step=0, images=0, spec=_spec(folder)), found


def unpack(folder: Path, target: Path) -> None:
    """Write the checkpoint `target`, a folder that is made, of the package's weights, whose checksums are proved.

    Raises CheckpointError for a package that is damaged, OSError.
    """
    for file in _files(folder).values():
        _prove(folder, file)
    spec = _spec(folder).model_dump(mode="json")
    clock = {"step": 0, "batches": 0, "images": 0, "updates": {}}
    target.mkdir(mode=0o700, parents=True)
    _merge(folder, target / STATE)
    (target / META).write_text(json.dumps({"clock": clock, "extras": {}, "rollbacks": 0, "spec": spec}))
    facts = {name: {"size": (target / name).stat().st_size, "sha256": _digest(target / name)} for name in (STATE, META)}
    (target / MANIFEST).write_text(json.dumps({"format": 1, "step": 0, "files": facts}))


def _files(folder: Path) -> dict[str, Path]:
    if not is_package(folder):
        raise CheckpointError(f"{folder} is no package: it needs {CONFIG}, {SPEC} and {WEIGHTS['G']}")
    return {player: folder / name for player, name in WEIGHTS.items() if (folder / name).is_file()}


def _spec(folder: Path) -> JobSpec:
    try:
        return load_spec(folder / SPEC)
    except (SpecError, OSError) as error:
        raise CheckpointError(f"{folder / SPEC} can't be read: {error}") from error


def _prove(folder: Path, file: Path) -> None:
    try:
        known = json.loads((folder / CHECKSUMS).read_bytes())[file.name]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{folder} has no checksum of {file.name}: pull or import the model again") from error
    if known != _digest(file):
        raise CheckpointError(f"{file} is damaged or altered: pull or import the model again")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _merge(folder: Path, target: Path) -> None:
    """All nets' tensors in one safetensors file, those of the largest items first, so that each lies where its kind may."""
    tensors = sorted(_tensors(folder), key=lambda one: (-SIZES.get(one.facts["dtype"], 1), one.name))
    told, end = {}, 0
    for one in tensors:
        told[one.name] = {**one.facts, "data_offsets": [end, end + one.size]}
        end += one.size
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for one in tensors:
            with one.file.open("rb") as source:
                source.seek(one.begin)
                _copy(source, out, one.size)


def _tensors(folder: Path) -> Iterator[_Tensor]:
    for player, file in _files(folder).items():
        told, start = header(file)
        for name, facts in told.items():
            begin, end = (int(place) for place in facts["data_offsets"])
            kind = {"dtype": str(facts["dtype"]), "shape": facts["shape"]}
            yield _Tensor(f"net/{player}/{name}", file, kind, start + begin, end - begin)


def _copy(source: BinaryIO, target: BinaryIO, count: int) -> None:
    while count > 0:
        piece = source.read(min(count, CHUNK))
        if not piece:
            raise CheckpointError(f"{source.name} is damaged: it ends too early")
        target.write(piece)
        count -= len(piece)
