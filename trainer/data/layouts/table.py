"""The table of layouts. To add one: a file beside this with NAME and `read`, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from trainer.data.layouts import chunks, classes, flat, huggingface, stylegan, tables, webdataset
from trainer.data.layouts.base import Reading, Tree

FOLDERS: dict[str, Callable[[Tree], Reading | None]] = {
    classes.NAME: classes.read,
    chunks.NAME: chunks.read,
    flat.NAME: flat.read,
}
"""Layouts that only the names of the files tell."""
TABLES: dict[str, Callable[[Tree], Reading | None]] = {
    stylegan.NAME: stylegan.read,
    tables.NAME: tables.read,
    huggingface.NAME: huggingface.read,
    webdataset.NAME: webdataset.read,
}
"""Layouts with files that hold the labels. One that is there counts before folders, and is compared with them."""
LAYOUTS = (*FOLDERS, *TABLES)
