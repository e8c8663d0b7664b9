"""Images without labels, whatever folders they lie in."""

from __future__ import annotations

from trainer.data.layouts.base import Reading, Tree

NAME = "flat"


def read(tree: Tree) -> Reading:
    """No image has a class."""
    return Reading(NAME, "images without labels" + (" in splits" if tree.in_splits else ""), {})
