"""Images numbered through and cut into folders of a thousand, without labels: FFHQ's `00000/00000.png`, `01000/01000.png`,
and what StyleGAN's dataset tool writes, `00000/img00000000.png`, `00001/img00001000.png`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from trainer.data.layouts.base import Reading, Tree

NAME = "chunks"
_FOLDER = re.compile(r"[0-9]{5,9}")
_FILE = re.compile(r"(?:img)?([0-9]{5,12})\.")


def read(tree: Tree) -> Reading | None:
    """None unless there are two or more folders and each is named for the thousand that all its images' numbers are of."""
    paths = [parts for _, parts in tree.places.values()]
    if len({parts[0] for parts in paths}) < 2 or not all(_fits(parts) for parts in paths):
        return None
    return Reading(NAME, "images without labels in numbered folders of a thousand", {})


def numbered(names: Iterable[str]) -> bool:
    """Whether all these folders are named as chunks are."""
    return all(_FOLDER.fullmatch(name) for name in names)


def _fits(parts: tuple[str, ...]) -> bool:
    if len(parts) != 2 or _FOLDER.fullmatch(parts[0]) is None or (file := _FILE.match(parts[1])) is None:
        return False
    return int(file[1]) // 1000 * 1000 in (int(parts[0]), int(parts[0]) * 1000)
