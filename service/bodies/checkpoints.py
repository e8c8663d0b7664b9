"""Bodies about checkpoints."""

from __future__ import annotations

from datetime import datetime

from service.bodies.base import Reply


class CheckpointFile(Reply):
    """A file of a checkpoint."""

    name: str
    bytes: int
    sha256: str
    """As its manifest says; whoever has the file can prove it."""


class Checkpoint(Reply):
    """A complete checkpoint."""

    step: int
    images: int | None
    """Real images shown at its step; null where its file doesn't say."""
    bytes: int
    """Of all its files."""
    written_at: datetime
    newest: bool
    """Whether training would go on from it: `latest`."""
    best: bool
    """Whether its score is the best so far: `best`."""
    pinned: bool
    """Whether it is kept until someone unpins it."""
    scores: dict[str, float]
    """What was measured at its step; empty: nothing is known of that."""
    files: tuple[CheckpointFile, ...]
    """Without the manifest, which names them."""
    archive: str
    """Path of its tar."""
