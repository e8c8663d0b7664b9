"""Whether a spec can go on with a checkpoint: what of its state would be another training's, what of its nets can't be taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trainer.origin.facts import STATE, Facts, facts, shapes
from trainer.origin.fit import Part, Shape, fit, nets_of, same
from trainer.spec import FieldError, JobSpec
from trainer.spec.errors import short
from trainer.spec.identity import identity

LISTED = 20
"""Parameters that a message names."""
WEIGHTS = 'use weights ("mode": "weights"; --weights), or leave it as it is'


def differing(spec: JobSpec, theirs: Facts, base: JobSpec | None = None, fix: str = WEIGHTS) -> list[FieldError]:
    """The fields by which the spec computes something else than the training whose state it is to go on with.

    base: the spec before its changes; of data that were changed there it is the URL that is wrong.
    """
    ours, known = identity(spec), identity(theirs.spec)
    known["data.digest"] = theirs.dataset
    if ours["data.digest"] is None and spec.data.url == theirs.spec.data.url:  # builtin data have none
        ours["data.digest"] = theirs.dataset
    if ours["data.digest"] != theirs.dataset and spec.data.url != (base or theirs.spec).data.url:
        ours |= {"data.url": spec.data.url, "data.digest": theirs.dataset}
    message = "can't change on the way from a checkpoint"
    return [
        FieldError(path=path, message=message, value=short(ours.get(path)), fix=fix)
        for path in sorted(ours.keys() | known.keys())
        if ours.get(path) != known.get(path)
    ]


def nothing_left(spec: JobSpec, theirs: Facts) -> FieldError | None:
    """What is wrong with a length that the state has reached already."""
    if theirs.images < spec.train.images:
        return None
    message = f"the checkpoint has shown {theirs.images:,} images, so nothing is left to train"
    fix = "set more, or as many to have it evaluated and published alone"
    return FieldError(path="train.images", message=message, value=str(spec.train.images), fix=fix)


def are_same(spec: JobSpec, theirs: JobSpec, saved: Mapping[str, Shape]) -> bool:
    """Whether the spec's nets are those that were saved, all of them: a package may lack a player."""
    return spec.arch == theirs.arch and {name.partition("/")[0] for name in saved} == set(spec.arch.players)


def misfits(
    spec: JobSpec, checkpoint: Path, restart: Sequence[str], parts: Callable[[], Mapping[str, Part]]
) -> tuple[FieldError, ...]:
    """Every parameter that can't be taken and isn't to start anew. parts: of the spec's nets, asked where the arch is another one.

    Raises CheckpointError, FileNotFoundError, and what `parts` raises.
    """
    saved = nets_of(shapes(checkpoint / STATE))
    expected = same(saved) if are_same(spec, facts(checkpoint).spec, saved) else parts()
    return fit(expected, saved, restart).problems


def summary(errors: Sequence[FieldError]) -> str:
    """In one line, what to do at its end; of many the first."""
    more = f"; and {len(errors) - LISTED} more" if len(errors) > LISTED else ""
    given = (f" (got {error.value})" if error.value else "" for error in errors)
    lines = [f"{error.path}: {error.message}{value}" for error, value in zip(errors, given, strict=True)]
    return f"{'; '.join(lines[:LISTED])}{more}. To do: {'; or '.join(dict.fromkeys(error.fix for error in errors))}"
