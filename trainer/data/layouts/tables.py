"""CSV or TSV files of image and label: `labels.csv` beside the images, Kaggle's `train.csv` beside `train/`."""

from __future__ import annotations

from trainer.data.layouts.base import Reading, Tree
from trainer.data.layouts.huggingface import is_metadata
from trainer.data.layouts.rows import finder, parse_csv, read_rows

NAME = "csv"


def read(tree: Tree) -> Reading | None:
    """Every table whose rows name images counts; None if there is none, or none with a column of labels."""
    labels: dict[str, str] = {}
    used, unused, refusals = [], dict[str, str](), []
    for table in tree.others:
        if not table.lower().endswith((".csv", ".tsv")) or is_metadata(table):
            continue
        try:
            found = read_rows(tree, table, parse_csv(table, tree.table(table)), finder(tree, table, loosely=True))
        except ValueError as error:
            unused[table] = f"can't be read as CSV ({error})"
            continue
        if found.unused is not None:
            unused[table] = found.unused
            continue
        used.append(table)
        refusals += [found.refusal] if found.refusal else []
        if clash := [name for name, label in found.labels.items() if labels.get(name, label) != label]:
            refusals.append(f"{' and '.join(used)} give {clash[0]} different labels; keep one of them")
        labels |= found.labels
    if not used:
        return Reading(NAME, "no table", {}, unused=unused) if unused else None
    refusal = refusals[0] if refusals else None
    return Reading(NAME, " and ".join(used), labels, used=frozenset(used), refusal=refusal, unused=unused)
