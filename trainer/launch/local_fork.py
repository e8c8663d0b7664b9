"""`agon train --from`: a local run that begins with another run's checkpoint. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from trainer.origin.facts import Facts
from trainer.origin.hold import choose, hold
from trainer.origin.judge import differing, nothing_left
from trainer.origin.package import is_package
from trainer.origin.place import begins
from trainer.source import find_spec
from trainer.spec import FieldError, JobSpec, SpecError, with_overrides
from trainer.wire import JOB_FILE, Fork, JobFile

ANOTHER = "give --out another folder, or --fresh"


@dataclass(frozen=True)
class Asked:
    """What the options say."""

    source: Path
    which: Literal["latest", "best"] | int
    mode: Literal["state", "weights"]
    restart: tuple[str, ...]


def asked(source: Path | None, at: str, weights: bool, restart: Sequence[str], out: Path | None) -> Asked | None:
    """None without `--from`. Raises SpecError for options that don't go together."""
    if source is None:
        if at != "latest" or weights or restart:
            raise _wrong("--from", "is missing", "--at, --weights and --restart go with --from FOLDER")
        return None
    if out is None or out.resolve() == source.resolve():
        raise _wrong("--out", "is missing or the other run's", "a fork needs a folder of its own: --out FOLDER")
    if restart and not weights:
        raise _wrong("--restart", "goes with --weights", "a state is taken whole")
    if at not in ("latest", "best") and not (at.isascii() and at.isdecimal() and len(at) <= 18):
        raise _wrong("--at", "is neither latest nor best nor a step", "e.g. --at 500")
    which = cast('Literal["latest", "best"]', at) if at in ("latest", "best") else int(at)
    return Asked(source, which, "weights" if weights else "state", tuple(restart))


def before(folder: Path) -> JobFile | None:
    """The newest attempt in the folder; None if there was none that can be read."""
    try:
        return JobFile.model_validate_json((folder / JOB_FILE).read_bytes())
    except (OSError, ValueError):
        return None


def spec_of(source: str | None, assignments: Sequence[str], wanted: Asked | None, known: JobFile | None) -> JobSpec:
    """The run's spec: SOURCE's, else of the run that goes on, else of the checkpoint; with the changes.

    Raises SpecError, OSError, CheckpointError.
    """
    if source is not None:
        base = find_spec(source)
    elif wanted is None:
        raise _wrong("FILE|RECIPE", "is missing", "e.g. agon train gan-digits (agon recipes lists them)")
    elif known is not None and known.fork is not None:
        base = known.spec
    else:
        base = choose(wanted.source, wanted.which)[1].spec
    return with_overrides(base, assignments)


def begun(spec: JobSpec, assignments: Sequence[str], wanted: Asked, folder: Path) -> Fork:
    """What the run in `folder` begins with: held there now, unless it was before. Raises SpecError, CheckpointError, OSError."""
    known = before(folder)
    if known is not None and known.fork is not None:
        if (known.fork.mode, known.fork.restart) != (wanted.mode, wanted.restart):
            raise _wrong("--out", f"began with the {known.fork.mode} of {known.fork.parent} otherwise", ANOTHER)
        return known.fork
    if known is not None or not begins(folder):
        raise _wrong("--out", "has a training that began with nothing else", ANOTHER)
    checkpoint, found = choose(wanted.source, wanted.which)
    if wanted.mode == "state" and is_package(checkpoint):
        raise _wrong("--from", "is a package, which has weights alone", "add --weights")
    if wanted.mode == "state":
        _refuse_other(spec, assignments, found)
    return hold(checkpoint, found, folder, wanted.mode, wanted.restart)


def _refuse_other(spec: JobSpec, assignments: Sequence[str], found: Facts) -> None:
    if errors := differing(spec, found):
        raise SpecError(errors)
    told = any(assignment.partition("=")[0] == "train.images" for assignment in assignments)
    if not told and (error := nothing_left(spec, found)) is not None:
        raise SpecError([error])


def _wrong(path: str, message: str, fix: str) -> SpecError:
    return SpecError([FieldError(path=path, message=message, fix=fix)])
