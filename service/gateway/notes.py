"""What MLflow's record of a run says of its name, labels and notes: as `trainer.tracking.note` writes it when an attempt begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LABEL_TAG, NAME_TAG, NOTE_TAG, COUNT_TAG = "agon.label.", "mlflow.runName", "mlflow.note.content", "agon.noted"
"""As `trainer.tracking` has them."""


@dataclass(frozen=True)
class Note:
    """What people have noted about a run; None: as the record has it."""

    run_id: str
    """The run's own id."""
    count: int
    """How often they have: the record keeps to the newest."""
    name: str | None = None
    labels: Mapping[str, str] | None = None
    notes: str | None = None


@dataclass(frozen=True)
class Changes:
    """What is to be done to the record."""

    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """These are set, the count last: what broke off is done again."""
    gone: tuple[str, ...] = ()
    """These tags are deleted."""


def changes(known: Mapping[str, str], note: Note) -> Changes:
    """Of a record with these tags. A name that someone wrote there by hand is left, and so are tags that are no labels."""
    count = known.get(COUNT_TAG, "")
    if count.isdecimal() and int(count) > note.count:
        return Changes()  # it has what was noted later
    wanted, gone = dict[str, str](), list[str]()
    if note.labels is not None:
        wanted = {LABEL_TAG + name: value for name, value in note.labels.items()}
        gone = [name for name in known if name.startswith(LABEL_TAG) and name not in wanted]
    if note.notes:
        wanted[NOTE_TAG] = note.notes
    elif note.notes is not None and NOTE_TAG in known:
        gone.append(NOTE_TAG)
    wanted[COUNT_TAG] = str(note.count)
    before, ours = known.get(NAME_TAG, ""), f"-{note.run_id}"
    renamed = note.name is not None and before.endswith(ours) and before != note.name + ours
    tags = {name: value for name, value in wanted.items() if known.get(name) != value}
    return Changes(f"{note.name}{ours}" if renamed else None, tags, tuple(gone))
