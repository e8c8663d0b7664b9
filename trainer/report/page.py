"""The page: what sections are made of, and how they become HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trainer.report.charts import Chart
from trainer.report.pictures import Picture
from trainer.report.subject import Subject
from trainer.spec.sections import HIGHER_IS_BETTER


@dataclass(frozen=True)
class Row:
    """A strip of images with its label before it and a remark behind it."""

    label: str
    picture: Picture
    note: str = ""


@dataclass(frozen=True)
class Sheet:
    """Strips below each other. heads: what their columns are."""

    kind: ClassVar[str] = "sheet"
    rows: Sequence[Row]
    heads: Sequence[str] = ()
    caption: str = ""
    half: bool = False
    """Few columns: two such sheets lie beside each other where there is room."""


@dataclass(frozen=True)
class Charts:
    """Curves beside each other, as many as fit."""

    kind: ClassVar[str] = "charts"
    charts: Sequence[Chart]
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text."""

    kind: ClassVar[str] = "table"
    rows: Sequence[Sequence[str]]
    heads: Sequence[str] = ()
    caption: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Code:
    """Something long, folded away."""

    kind: ClassVar[str] = "code"
    summary: str
    text: str


Block = Sheet | Charts | Table | Text | Code


@dataclass(frozen=True)
class Section:
    """An entry of the table of sections. `make` gives its blocks or raises LeftOut with the reason."""

    id: str
    title: str
    reading: str
    """What one sees and how to read it, in a sentence."""
    make: Callable[[Subject], Sequence[Block]]


@dataclass(frozen=True)
class Shown:
    """A section that was made."""

    section: Section
    blocks: Sequence[Block]
    seconds: float


@dataclass(frozen=True)
class Absent:
    """A section that was left out, and why."""

    section: Section
    reason: str


def render(subject: Subject, shown: Sequence[Shown], absent: Sequence[Absent], *, seconds: float) -> str:
    """The page as HTML. Everything that comes from a person (names, classes, specs) is escaped."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        subject=subject,
        kind=describe(subject),
        basis=basis(subject),
        scores=[(name, f"{value:.4g}", _better(name)) for name, value in subject.scores.items()],
        shown=shown,
        absent=absent,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seconds=f"{seconds:.0f} s" if seconds >= 1 else "under a second",
    )


def basis(subject: Subject) -> str:
    """What the scores at the head of the page rest on; empty if it isn't known."""
    known = subject.provenance
    if not subject.scores or "extractor" not in known:
        return ""
    counts = f" of {int(known['samples']):,} generated images" if "samples" in known else ""
    return (
        f"Scores by features of {known['extractor']}{counts}; they compare only with scores of the same basis (below)."
    )


def describe(subject: Subject) -> str:
    """What the model is, in a sentence."""
    arch = subject.arch
    known = f"class-conditional ({arch.classes} classes)" if arch.conditional else "unconditional"
    colour = "RGB" if arch.channels == 3 else "grey"
    trained = subject.facts.get("trained", "")
    return (
        f"{'A' if arch.conditional else 'An'} {known} generator of family {arch.family}, "
        f"{arch.resolution} × {arch.resolution} pixels, {colour}.{f' Trained: {trained}.' if trained else ''}"
    )


def _better(name: str) -> str:
    return "higher is better" if name in HIGHER_IS_BETTER else "lower is better"
