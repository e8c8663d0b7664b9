"""Another training's state as this one's newest checkpoint: population-based training's exploit step.

Nets, averages, optimisers, clock and data cursor are the source's, bit for bit; what the spec says (learning rates, weights
of penalties, …) is the target's.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from trainer.checkpoint.files import read, write
from trainer.errors import CheckpointError
from trainer.spec import JobSpec, SpecError, parse_spec


def stage(source: Path, aside: Path, spec: JobSpec) -> None:
    """Make `aside` hold the checkpoint in the folder `source` alone, as if `spec` had trained it.

    Raises CheckpointError if the source is damaged, or is of a training whose state `spec` can't go on from.
    """
    tensors, meta = read(source)
    try:
        theirs = parse_spec(meta["spec"])
    except (SpecError, KeyError) as error:
        raise CheckpointError(f"{source} has a spec that this version can't read: {error}") from error
    if differing := [name for name, ours, other in _shape(spec, theirs) if ours != other]:
        raise CheckpointError(
            f"{source} can't be taken over: {', '.join(differing)} differ, and the state has their shape"
        )
    shutil.rmtree(aside, ignore_errors=True)
    write(aside, int(meta["clock"]["step"]), tensors, {**meta, "spec": spec.model_dump(mode="json"), "rollbacks": 0})


def adopt(aside: Path, directory: Path) -> None:
    """Let what was staged take the place of all checkpoints in `directory`. After a crash in between, do it again."""
    shutil.rmtree(directory, ignore_errors=True)
    aside.rename(directory)


def _shape(ours: JobSpec, theirs: JobSpec) -> list[tuple[str, object, object]]:
    """What the tensors' names, shapes and meaning depend on."""
    return [
        ("arch", ours.arch, theirs.arch),
        ("objective.loss", ours.objective.loss, theirs.objective.loss),
        ("optimizers", _kinds(ours), _kinds(theirs)),
        ("ema", ours.ema is None, theirs.ema is None),
        ("train.batch", ours.train.batch, theirs.train.batch),
        ("data.lanes", ours.data.lanes, theirs.data.lanes),
    ]


def _kinds(spec: JobSpec) -> dict[str, str]:
    return {name: optimizer.kind for name, optimizer in spec.optimizers.items()}
