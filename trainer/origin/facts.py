"""What a checkpoint and the records beside it say, read without torch and without its tensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import CheckpointError
from trainer.spec import JobSpec, SpecError, parse_spec

STATE, META, MANIFEST = "state.safetensors", "meta.json", "manifest.json"
ROLLBACKS, BEST = "rollbacks.json", "best.json"
MOST_HEADER = 100_000_000
"""Bytes of a safetensors header; the format's own limit."""


@dataclass(frozen=True)
class Facts:
    """Of one checkpoint. rollbacks: how many there had been. dataset: digest of the data that were read."""

    step: int
    images: int
    spec: JobSpec
    rollbacks: int = 0
    dataset: str | None = None


def facts(checkpoint: Path) -> Facts:
    """Raises CheckpointError if its meta data are damaged or of another version, FileNotFoundError if they are gone."""
    meta = _mapping(checkpoint / META)
    try:
        clock, extras = meta["clock"], meta["extras"]
        return Facts(
            step=int(clock["step"]),
            images=int(clock["images"]),
            spec=parse_spec(meta["spec"]),
            rollbacks=int(meta.get("rollbacks", 0)),
            dataset=extras.get("dataset"),
        )
    except SpecError as error:
        raise CheckpointError(f"{checkpoint} has a spec that this version can't read: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint / META} is damaged or of another version") from error


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file, from its header. Raises CheckpointError, FileNotFoundError."""
    return {name: tuple(told["shape"]) for name, told in header(file)[0].items()}


def header(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """What a safetensors file says of each tensor, and where their bytes begin. Raises CheckpointError, FileNotFoundError."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > MOST_HEADER:
                raise ValueError
            told: dict[str, Any] = json.loads(opened.read(length))
        for name, facts in (found := {n: dict(told[n]) for n in told if n != "__metadata__"}).items():
            found[name]["shape"] = [int(size) for size in facts["shape"]]
        return found, 8 + length
    except FileNotFoundError:
        raise
    except (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged: its header can't be read") from error


def best_step(checkpoints: Path) -> int | None:
    """The step whose checkpoint has the best score so far, as the training wrote it down; None if it has not."""
    try:
        return int(_mapping(checkpoints / BEST)["step"])
    except (CheckpointError, FileNotFoundError, LookupError, TypeError, ValueError):
        return None


def carry(theirs: Path, ours: Path, taken: Facts) -> None:
    """Write down what belongs to a state beside its checkpoint, from folder of checkpoints to folder of checkpoints: the roll
    backs behind it, and whether it is the best. Raises CheckpointError, OSError."""
    if done := part_of(rolled_back(theirs), taken.step, taken.rollbacks):
        (ours / ROLLBACKS).write_text(json.dumps({"done": done}))
    if best_step(theirs) == taken.step:
        (ours / BEST).write_bytes((theirs / BEST).read_bytes())


def rolled_back(checkpoints: Path) -> list[dict[str, Any]]:
    """The training's roll backs in order, as `trainer.checkpoint.rollbacks` writes them. Raises CheckpointError."""
    try:
        done = _mapping(checkpoints / ROLLBACKS)["done"]
        return [{**one, "to_step": int(one["to_step"])} for one in done]
    except FileNotFoundError:
        return []
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoints / ROLLBACKS} is damaged; repair it, or take another training") from error


def is_undone(done: Sequence[Mapping[str, Any]], step: int, count: int) -> bool:
    """Whether a checkpoint of `step`, written after `count` roll backs, is of steps that were given up since."""
    return any(step > later["to_step"] for later in done[count:])


def part_of(done: Sequence[dict[str, Any]], step: int, count: int) -> list[dict[str, Any]]:
    """The roll backs behind which a training stands at a checkpoint of `step` that was written after `count` of them.

    These and those that returned to this very step: the training that goes on from it does so with the seed and the learning
    rates that it had then. One that returned to a later step comes again by itself, if it comes.
    """
    returned = [number for number, one in enumerate(done, 1) if one["to_step"] == step]
    return list(done[: max([count, *returned])])


def _mapping(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError, FileNotFoundError."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: it can't be read") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is damaged: it holds no object")
    return found
