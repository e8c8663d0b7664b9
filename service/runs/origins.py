"""The checkpoint that a job begins with: chosen among those of another run, and held where nobody removes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from service.errors import Conflict
from service.runs import checkpoints
from service.runs.checkpoints import CHECKPOINTS, Checkpoint, Which
from trainer.access import Access
from trainer.data.locate import locate
from trainer.errors import BadDataError, CheckpointError
from trainer.origin import package
from trainer.origin.facts import STATE, Facts, carry, facts, is_undone, rolled_back, shapes
from trainer.origin.fit import Shape
from trainer.origin.place import ORIGIN

READ = (*package.WEIGHTS.values(), package.CONFIG, package.CHECKSUMS, package.SPEC)
"""Files of a package that are read."""
TRIES = 3
"""How often a training that removes its checkpoints meanwhile is looked at again."""


@dataclass(frozen=True)
class Source:
    """Whose checkpoints."""

    folder: Path
    name: str
    """For a person: `job j-…`."""


@dataclass(frozen=True)
class Taken:
    """The checkpoint that was chosen: in the job's folder to be or, if nothing is to be held, where it lies."""

    folder: Path
    facts: Facts
    saved: Mapping[str, Shape] = field(default_factory=dict)
    """Of weights, the shapes that there are, by `net/G/…`."""


def take(
    root: Path, source: Source, which: Which, mode: Literal["state", "weights"], aside: Path | None = None
) -> Taken:
    """Choose a checkpoint, and hold it in `aside`, a folder that is made, as a job's folder has it; None: hold nothing.

    A state lies among the job's own checkpoints, weights apart (`trainer.origin.place`).
    root: what the source's folder lies below. Those that a roll back has undone since are passed over.
    Raises Conflict, saying what there is instead, and OSError.
    """
    try:
        for _ in range(TRIES):
            found = list(_candidates(root, source.folder, which))
            for checkpoint in found:
                if (taken := _held(source, checkpoint, mode, aside)) is not None:
                    return taken
            if not found:
                break
    except CheckpointError as error:
        said = str(error).replace(str(aside), str(source.folder))  # as whoever asked knows it
        raise Conflict(f"{source.name}: {said}; give another checkpoint by its step") from error
    raise Conflict(_why_none(root, source, which))


def take_package(path: str, access: Access, aside: Path | None = None) -> Taken:
    """The weights of a package as a checkpoint in `aside`; None: nothing is written.

    Raises BadDataError for a path that may not be read, Conflict for what is no package or a damaged one, OSError.
    """
    location = locate(path, access, "from.package")
    if location.path is None:
        raise BadDataError(f"from.package {path!r}: is no local folder; pull the model, and give its folder")
    for name in READ:
        location.local(name)  # a file in it may be a link
    try:
        found, saved = package.about(location.path)
        if aside is None:
            return Taken(location.path, found, saved)
        held = aside / ORIGIN / checkpoints.step_name(0)
        held.parent.mkdir(mode=0o700, parents=True)
        package.unpack(location.path, held)
        return Taken(held, facts(held), shapes(held / STATE))
    except (CheckpointError, FileNotFoundError) as error:
        raise Conflict(f"{error}; give a package that is whole") from error


def _candidates(root: Path, folder: Path, which: Which) -> Iterator[Checkpoint]:
    """The one that is meant or, as the newest, all from the newest on."""
    if which == "latest":
        yield from checkpoints.every(root, folder)
    elif (found := checkpoints.find(root, folder, which)) is not None:
        yield found


def _held(source: Source, checkpoint: Checkpoint, mode: str, aside: Path | None) -> Taken | None:
    """None if it is removed meanwhile, or was undone."""
    held = checkpoint.path
    if aside is not None:
        place = aside / (CHECKPOINTS if mode == "state" else ORIGIN)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = place / checkpoint.path.name
        if not checkpoints.link(checkpoint.path, held):
            return None
    try:
        found = facts(held)
    except FileNotFoundError:
        return None
    done = rolled_back(source.folder / CHECKPOINTS)
    if is_undone(done, found.step, found.rollbacks):
        if aside is not None:
            shutil.rmtree(held)
        return None
    if mode == "state":
        if aside is not None:
            carry(source.folder / CHECKPOINTS, held.parent, found)
        return Taken(held, found)
    try:
        return Taken(held, found, shapes(held / STATE))
    except FileNotFoundError:
        return None


def _why_none(root: Path, source: Source, which: Which) -> str:
    kept = [str(found.step) for found in checkpoints.every(root, source.folder)]
    if not kept:
        return (
            f"{source.name} has no complete checkpoint; it saves one every checkpoint.every_steps steps, when it is "
            "paused or cancelled, and at its end"
        )
    if which == "latest":
        return f"{source.name} has no checkpoint that no roll back has undone; wait for its next one"
    missing = (
        "no best checkpoint: none was scored, or it is gone" if which == "best" else f"no checkpoint of step {which}"
    )
    return f"{source.name} has {missing}; it has those of {_listed(kept)}"


def _listed(steps: list[str]) -> str:
    """`steps 900, 600, 300`, newest first."""
    more = f" and {len(steps) - 10} older ones" if len(steps) > 10 else ""
    return f"step{'' if len(steps) == 1 else 's'} {', '.join(steps[:10])}{more}"
