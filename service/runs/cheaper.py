"""With how many fewer workers a run could do: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from service.runs.kinds import Kind
from service.runs.room import Need
from trainer.search import parse_search
from trainer.spec import JobSpec, SpecError, parse_spec

TRIED = 6
"""So many numbers of workers are tried, the greatest first."""


class Smaller(NamedTuple):
    """The run with fewer workers."""

    path: str
    """The field that an edit changes."""
    workers: int
    need: Need


def smaller(kind: Kind, spec: Mapping[str, Any]) -> Iterator[Smaller]:
    """With ever fewer workers that divide its lanes. Of an elastic job the least that it starts with; of a search those of one trial."""
    try:
        base = parse_search(dict(spec)).base if kind.has_trials else parse_spec(dict(spec))
    except SpecError:  # of another version
        return
    elastic = not kind.has_trials and base.resources.min_workers is not None
    field = "min_workers" if elastic else "workers"
    now = (elastic and base.resources.min_workers) or base.resources.workers
    counts = [workers for workers in range(now - 1, 0, -1) if base.data.lanes % workers == 0][:TRIED]
    for workers in counts:
        if (changed := _with(base, field, workers)) is not None:
            resources = changed.resources
            need = Need(workers, resources.cpus_per_worker, float(resources.gpus_per_worker))
            yield Smaller(f"{'base.' if kind.has_trials else ''}resources.{field}", workers, need)


def _with(spec: JobSpec, field: str, value: int) -> JobSpec | None:
    """None if it is none that may run: its micro-batch doesn't divide what one of so few workers gets."""
    try:
        return spec.replace(resources=spec.resources.replace(**{field: value}))
    except (SpecError, ValidationError):
        return None
