"""A folder a class, with or without folders for splits around them: `cat/1.jpg`, `train/cat/1.jpg`."""

from __future__ import annotations

from trainer.data.layouts.base import Reading, Tree

NAME = "classes"


def read(tree: Tree) -> Reading | None:
    """The class of an image is the outermost folder that it lies in, within its split. None if no image lies in one."""
    labels = {name: parts[0] for name, (_, parts) in tree.places.items() if len(parts) > 1}
    if not labels:
        return None
    labelled = {tree.places[name][0] for name in labels}
    folders = {folder for split, folders in tree.class_folders.items() if split in labelled for folder in folders}
    return Reading(
        NAME,
        "class folders" + (" in splits" if tree.in_splits else ""),
        labels,
        declared=tuple(folders | set(labels.values())),
        warnings=_deeper(tree, labels),
    )


def _deeper(tree: Tree, labels: dict[str, str]) -> tuple[str, ...]:
    if len(set(labels.values())) < 2 or not any(len(tree.places[name][1]) > 2 for name in labels):
        return ()
    first = sorted(set(labels.values()))[:3]
    return (
        f"class folders hold folders; the outer ones ({', '.join(first)}, …) were taken as the classes. If the inner "
        "ones are, give one folder deeper",
    )
