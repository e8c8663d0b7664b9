"""FILE|RECIPE, as the trainer's commands take it. Torch-free."""

from __future__ import annotations

from pathlib import Path

from trainer.families.table import recipes
from trainer.spec import JobSpec, load_spec


def find_spec(source: str) -> JobSpec:
    """The spec of a file that exists, else of a recipe. Raises SpecError or OSError."""
    if Path(source).is_file():
        return load_spec(source)
    known = recipes()
    if source not in known:
        raise FileNotFoundError(f"{source!r} is neither a file nor a recipe; recipes: {', '.join(sorted(known))}")
    return known[source]()
