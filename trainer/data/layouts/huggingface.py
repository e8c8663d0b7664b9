"""Hugging Face's imagefolder: a `metadata.csv` or `metadata.jsonl` beside the images, or in each split's folder."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from trainer.data.layouts.base import Reading, Tree
from trainer.data.layouts.rows import finder, parse_csv, read_rows

NAME = "huggingface"
FILES = ("metadata.csv", "metadata.jsonl")


def is_metadata(name: str) -> bool:
    """Whether a file is one of imagefolder's."""
    return PurePosixPath(name).name in FILES


def read(tree: Tree) -> Reading | None:
    """The column `file_name` is relative to the metadata's folder; labels come from `label` or the column that was asked for.
    None without such a file, or without labels in any."""
    labels: dict[str, str] = {}
    used, unused, refusal = [], dict[str, str](), None
    for table in filter(is_metadata, tree.others):
        try:
            content = tree.table(table)
            rows = _lines(content) if table.endswith(".jsonl") else parse_csv(table, content)
        except (ValueError, RecursionError) as error:
            unused[table] = f"can't be read ({error})"
            continue
        found = read_rows(tree, table, rows, finder(tree, table, loosely=False))
        if found.unused is not None:
            unused[table] = found.unused
            continue
        used.append(table)
        labels |= found.labels
        refusal = refusal or found.refusal
    if not used:
        return Reading(NAME, "no table", {}, unused=unused) if unused else None
    what = f"Hugging Face's {' and '.join(used)}"
    return Reading(NAME, what, labels, used=frozenset(used), refusal=refusal, unused=unused)


def _lines(content: bytes) -> list[list[str]]:
    """JSON lines as rows below a line of names. Raises ValueError."""
    found = [json.loads(line) for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    if not all(isinstance(item, dict) for item in found):
        raise ValueError("a line is no JSON object")
    columns = list(dict.fromkeys(key for item in found[:1000] for key in item))
    return [columns, *([_text(item.get(column)) for column in columns] for item in found)] if found else []


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
