"""Where, in a job's folder, the checkpoint lies whose nets it begins with. Its own never lie there, and nothing removes it."""

from __future__ import annotations

from pathlib import Path

from trainer.origin.facts import MANIFEST

CHECKPOINTS, ORIGIN = "checkpoints", "origin"


def held(job_dir: Path) -> Path | None:
    """The checkpoint; None if there is none."""
    return next((path.parent for path in sorted((job_dir / ORIGIN).glob(f"*/{MANIFEST}"))), None)


def begins(job_dir: Path) -> bool:
    """Whether the job has no complete checkpoint of its own."""
    return not any((job_dir / CHECKPOINTS).glob(f"step-*/{MANIFEST}"))
