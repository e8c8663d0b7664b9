"""Bodies about curves: what was measured over a training."""

from __future__ import annotations

from service.bodies.base import Reply


class Curve(Reply):
    """One measure over the training, in buckets of equally many images, in order; empty buckets are left out."""

    images: tuple[int, ...]
    """Real images shown when the newest value of the bucket was measured."""
    steps: tuple[int, ...]
    """The step of that value."""
    mean: tuple[float, ...]
    least: tuple[float, ...]
    greatest: tuple[float, ...]
    last: tuple[float, ...]
    """The newest value of the bucket."""


class Stretch(Reply):
    """Who trained a job's nets from one image to another, counted from the first that they were shown."""

    run: str
    """A job by its id, a trial as `SEARCH/TRIAL`, or a package."""
    begin: int
    end: int | None
    """Where the next one began with its checkpoint; null: the job itself, which may go on."""
    told: bool
    """Whether the curves have it: not what a deleted job trained, a trial, or whoever made a package, nor what was before them."""


class Curves(Reply):
    """What a job has measured so far. What a roll back or a restart has undone is not in it."""

    acked: int
    """Number of the newest event that is in it."""
    offset: int = 0
    """Images that its nets had been shown before its own 0, over all that it goes back to (docs/fork.md)."""
    lineage: tuple[Stretch, ...] = ()
    """With `lineage=true`: who has trained the nets, in order. The curves then begin with the first of them that they have, and all
    their `images` count from the first image that the nets were shown, so with the offset."""
    training: dict[str, Curve]
    """By metric: losses, D's accuracies, speed, the sentinel's measures."""
    scores: dict[str, Curve]
    """By metric, at evaluations."""
