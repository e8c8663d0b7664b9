"""Rows of a file and its label, as CSV and Hugging Face's metadata hold them → labels of images."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from trainer.data.layouts.base import Tree, beside, few, plural

FILE_COLUMNS = (
    "file_name",
    "filename",
    "file",
    "image",
    "image_path",
    "path",
    "filepath",
    "image_id",
    "img",
    "id",
    "name",
)
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "classname", "category", "target", "y")
_PROBED = 200
Find = Callable[[str], str | None]
"""What a row calls a file → the image of that name, if there is one."""


@dataclass(frozen=True)
class Labels:
    """What a table says."""

    labels: Mapping[str, str]
    unused: str | None = None
    """Why the table is no list of labels."""
    refusal: str | None = None


def parse_csv(table: str, content: bytes) -> list[list[str]]:
    """The rows of a CSV or TSV file. Raises ValueError."""
    text = content.decode("utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = "\t" if table.lower().endswith(".tsv") else max(",;\t", key=first.count)
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise ValueError(str(error)) from error


def finder(tree: Tree, table: str, *, loosely: bool) -> Find:
    """How this table's file names are understood: relative to its folder; `loosely` also relative to the source, or to a
    folder of the table's name, or as a base name or stem that only one image has."""
    images = tree.known
    folder = str(PurePosixPath(table).with_suffix(""))
    short = tree.by_short_name if loosely else {}

    def find(text: str) -> str | None:
        exact = beside(table, text)
        if exact is None or exact in images or not loosely:
            return exact if exact in images else None
        bare = beside("x", text) or ""
        places = (exact, f"{folder}/{bare}", f"{tree.outer}{bare}", bare)
        return next((found for place in places if (found := place if place in images else short.get(place))), None)

    return find


def read_rows(tree: Tree, table: str, rows: Sequence[Sequence[str]], find: Find) -> Labels:
    """Labels of the rows, with or without a line of names above them."""
    if len(rows) < 1:
        return Labels({}, "is empty")
    width = len(rows[0])
    hits = [sum(find(row[at]) is not None for row in rows[:_PROBED] if at < len(row)) for at in range(width)]
    named = [name.strip().lower() for name in rows[0]]
    file_at = next((named.index(name) for name in FILE_COLUMNS if name in named and hits[named.index(name)]), None)
    if file_at is None:
        file_at = max(range(width), key=hits.__getitem__)
    if not hits[file_at]:
        return Labels({}, "names no image of the source")
    headed = find(rows[0][file_at]) is None
    label_at = _label_column(tree.label_column, named if headed else [], width, file_at)
    if label_at is None:
        columns = ", ".join(rows[0]) if headed else f"{width} without names"
        return Labels(
            {}, f"has no column of labels that is known by its name (columns: {columns}); give --label-column"
        )
    return _collect(table, rows[1:] if headed else rows, file_at, label_at, find)


def _label_column(wanted: str | None, named: list[str], width: int, file_at: int) -> int | None:
    if wanted is not None:
        return named.index(wanted.lower()) if wanted.lower() in named else None
    known = next((named.index(name) for name in LABEL_COLUMNS if name in named), None)
    return 1 - file_at if known is None and width == 2 else known


def _collect(table: str, rows: Sequence[Sequence[str]], file_at: int, label_at: int, find: Find) -> Labels:
    labels: dict[str, str] = {}
    missing, empty, twice = [], [], []
    for row in rows:
        file = row[file_at] if file_at < len(row) else ""
        label = row[label_at].strip() if label_at < len(row) else ""
        name = find(file)
        if name is None:
            missing.append(file or "(nothing)")
        elif not label:
            empty.append(file)
        elif labels.setdefault(name, label) != label:
            twice.append(file)
    refusal = None
    if missing:
        refusal = f"{table} names {plural(len(missing), 'file')} that the source doesn't hold ({few(missing)}); remove the rows, or copy the files"
    elif empty:
        refusal = f"{table} has {plural(len(empty), 'row')} without a label ({few(empty)}); fill them in, or remove the images"
    elif twice:
        refusal = f"{table} gives {plural(len(twice), 'file')} several labels ({few(twice)}); keep one row for each"
    return Labels(labels, refusal=refusal)
