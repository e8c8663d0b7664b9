"""The page: what sections are made of, and how they become HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trainer.report.charts import Chart
from trainer.report.pictures import Picture

S = TypeVar("S")
"""What a page is about: a training (Subject) or a search."""


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
    """Text as it is: something long, folded away below its summary; or open, without one."""

    kind: ClassVar[str] = "code"
    summary: str
    text: str


Block = Sheet | Charts | Table | Text | Code


@dataclass(frozen=True)
class Section(Generic[S]):
    """An entry of the table of sections. `make` gives its blocks or raises LeftOut with the reason."""

    id: str
    title: str
    reading: str
    """What one sees and how to read it, in a sentence."""
    make: Callable[[S], Sequence[Block]]


@dataclass(frozen=True)
class Shown:
    """A section that was made."""

    section: Section[Any]
    blocks: Sequence[Block]
    seconds: float


@dataclass(frozen=True)
class Absent:
    """A section that was left out, and why."""

    section: Section[Any]
    reason: str


@dataclass(frozen=True)
class Head:
    """What stands above the sections. kind: a sentence on what it is. tiles: (figure, what it is). basis: what they rest on."""

    name: str
    kind: str
    tiles: Sequence[tuple[str, str]] = ()
    basis: str = ""
    verdict: tuple[str, str] | None = None
    """How it looks, and why, in one line."""


def render(head: Head, shown: Sequence[Shown], absent: Sequence[Absent], *, seconds: float) -> str:
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
        head=head,
        shown=shown,
        absent=absent,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seconds=f"{seconds:.0f} s" if seconds >= 1 else "under a second",
    )
