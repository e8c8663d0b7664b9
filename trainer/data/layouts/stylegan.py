"""StyleGAN's datasets (Karras et al., `dataset_tool.py`): any folders, and a `dataset.json` with
`{"labels": [["00000/img00000000.png", 6], …]}`, or null for images without labels."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from trainer.data.layouts.base import Reading, Tree, beside, few, numbers, plural

NAME = "stylegan"
FILE = "dataset.json"
MOST_CLASSES = 100_000


def read(tree: Tree) -> Reading | None:
    """None if there is no `dataset.json` with `labels`."""
    found: dict[str, object] = {}
    for table in (name for name in tree.others if PurePosixPath(name).name == FILE):
        try:
            raw = json.loads(tree.table(table))
        except (ValueError, RecursionError):
            continue
        if isinstance(raw, dict) and "labels" in raw:
            found[table] = raw["labels"]
    if not found:
        return None
    labels: dict[str, int] = {}
    refusals: list[str] = []
    for table, entries in found.items():
        more, refusal = _labels(tree, table, entries)
        labels |= more
        refusals += [refusal] if refusal else []
    return Reading(
        NAME,
        f"StyleGAN's {' and '.join(found)}" + ("" if labels else " (without labels)"),
        {name: str(number) for name, number in labels.items()},
        declared=numbers(labels.values()),
        used=frozenset(found),
        refusal=refusals[0] if refusals else None,
    )


def _labels(tree: Tree, table: str, entries: object) -> tuple[dict[str, int], str | None]:
    """Image → number, and why the table can't be used."""
    if entries is None:
        return {}, None
    labels: dict[str, int] = {}
    wrong, missing = [], []
    for entry in entries if isinstance(entries, list) else [entries]:
        match entry:
            case [str(file), label] if (number := _number(label)) is not None:
                name = beside(table, file)
                if name in tree.known:
                    labels[name] = number
                else:
                    missing.append(file)
            case _:
                wrong.append(json.dumps(entry)[:60])
    if wrong:
        fix = "each has to be [file, number from 0 on]"
        return labels, f"{table}: {plural(len(wrong), 'label')} can't be read as a class ({few(wrong)}); {fix}"
    if missing:
        return (
            labels,
            f"{table} names {plural(len(missing), 'file')} that the source doesn't hold ({few(missing)}); copy it whole",
        )
    return labels, None


def _number(label: object) -> int | None:
    """A class, also of a one-hot vector."""
    if isinstance(label, list) and label and all(value in (0, 1) for value in label) and sum(label) == 1:
        return label.index(1)
    return label if type(label) is int and 0 <= label < MOST_CLASSES else None
