"""Going on from a checkpoint: of the same training only, and the same one on every rank."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.checkpoint.files import DAMAGED, clear_leftovers, read, step_path, survey
from trainer.checkpoint.rollbacks import RollBacks, set_aside
from trainer.engine.distributed import Distributed
from trainer.engine.state import TrainState
from trainer.errors import BadSpecError, CheckpointError
from trainer.spec import JobSpec, SpecError
from trainer.spec import identity as specs
from trainer.spec.files import parse_spec

LOG = logging.getLogger(__name__)
NONE = -1
AFRESH = "start afresh (--fresh) or in another folder"


@dataclass(frozen=True)
class Restored:
    """path: the checkpoint the state now is, or None for a fresh start. warnings: damaged ones that were passed over.
    rollbacks: how many there had been when it was written."""

    path: Path | None
    warnings: tuple[str, ...] = ()
    rollbacks: int = 0


def restore(state: TrainState, directory: Path, distributed: Distributed) -> Restored:
    """Load the newest undamaged checkpoint into `state`, on every rank the one that rank 0 finds.

    Those that a roll back has undone are set aside first, so they are never chosen.
    Damaged ones are renamed to `damaged-step-…`: they stay for whoever wants to look, and are in no one's way. If all
    are damaged the training starts over, and the warnings say so.
    Raises BadSpecError, naming the differing fields, if the checkpoint is of another training, CheckpointError if it is of a
    version that can't be read here.
    """
    step, warnings = NONE, list[str]()
    if distributed.is_main:
        clear_leftovers(directory)
        set_aside(directory, RollBacks.read(directory))
        step, warnings = _choose(directory)
    step = int(distributed.sum(torch.tensor(step if distributed.is_main else 0, device=distributed.device)))
    if step == NONE:
        return Restored(None, tuple(warnings))
    path = step_path(directory, step)
    tensors, meta = read(path)
    refuse_other(state.spec, state.extras, meta, path)
    state.load(tensors, meta)
    distributed.assert_same({name: player.net for name, player in state.players.items()}, f"after loading {path}")
    return Restored(path, tuple(warnings), int(meta.get("rollbacks", 0)))


def _choose(directory: Path) -> tuple[int, list[str]]:
    found, damaged = survey(directory)
    warnings = []
    for path, reason in damaged.items():
        kept = path.with_name(DAMAGED + path.name)
        if not kept.exists():
            path.rename(kept)
        warnings.append(f"a damaged checkpoint is passed over and kept as {kept}: {reason}")
        LOG.warning("%s", warnings[-1])
    return (NONE if found is None else _step_of(found)), warnings


def _step_of(path: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(path.name.rpartition("-")[2])


def refuse_other(spec: JobSpec, extras: dict[str, Any], meta: dict[str, Any], path: Path) -> None:
    """Raise BadSpecError, naming the fields, if the checkpoint belongs to a training that would have gone another way."""
    try:
        theirs = identity(parse_spec(meta["spec"]), meta["extras"])
    except (SpecError, KeyError) as error:
        raise CheckpointError(f"{path} has a spec that this version can't read: {error}; {AFRESH}") from error
    ours = identity(spec, extras)
    differing = [
        f"{field} is {theirs.get(field)!r} in the checkpoint and {ours.get(field)!r} now"
        for field in sorted(ours.keys() | theirs.keys())
        if ours.get(field) != theirs.get(field)
    ]
    if differing:
        raise BadSpecError(f"{path} is of another training: {'; '.join(differing)}; {AFRESH}")


def identity(spec: JobSpec, extras: dict[str, Any]) -> dict[str, Any]:
    """The spec's identity, with the data that were really read: a spec may leave their digest out."""
    return {**specs.identity(spec), "data.digest": extras.get("dataset")}
