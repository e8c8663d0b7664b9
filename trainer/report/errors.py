"""What a section says instead of blocks."""

from __future__ import annotations


class LeftOut(Exception):  # noqa: N818 — no error: what a section says when it has nothing to show
    """A section does not apply; the message says why, in one line for a person."""
