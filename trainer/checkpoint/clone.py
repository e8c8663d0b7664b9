"""Another training's state as this one's newest checkpoint: population-based training's exploit step.

Nets, averages, optimisers, clock and data cursor are the source's, bit for bit; what the spec says (learning rates, weights
of penalties, …) is the target's.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from trainer.checkpoint.files import clear_leftovers, read, step_path, steps, write
from trainer.checkpoint.keep import BEST_FILE
from trainer.checkpoint.rollbacks import ROLLBACKS_FILE
from trainer.errors import CheckpointError
from trainer.spec import JobSpec, SpecError, parse_spec


def clone(source: Path, directory: Path, spec: JobSpec) -> Path:
    """Replace all checkpoints in `directory` by that of the folder `source`, as if `spec` had trained it. Returns its folder.

    A crash in between leaves either the old ones or none beside the new one, so it can be done again.
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
    directory.mkdir(parents=True, exist_ok=True)
    clear_leftovers(directory)
    step = int(meta["clock"]["step"])
    for other in steps(directory):
        shutil.rmtree(step_path(directory, other))
    for name in (BEST_FILE, ROLLBACKS_FILE):
        (directory / name).unlink(missing_ok=True)
    return write(directory, step, tensors, {**meta, "spec": spec.model_dump(mode="json"), "rollbacks": 0})


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
