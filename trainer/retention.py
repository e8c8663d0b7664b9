"""Which checkpoints stay: the newest few, the best few, and one of every so many images. Pure; it imports no torch.

Training applies it as it saves, the control plane to what has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Keep:
    """How many of each kind."""

    last: int
    """Newest ones; at least 1."""
    best: int
    """Of the best scores."""
    every_images: int | None = None
    """The first one at or behind each multiple of so many images."""

    def within(self, last: int | None = None, best: int | None = None, every_images: int | None = None) -> Keep:
        """No more than that of each kind; None leaves it as it is."""
        coarser = self.every_images and every_images and max(self.every_images, every_images)
        return Keep(
            self.last if last is None else min(self.last, last),
            self.best if best is None else min(self.best, best),
            coarser or self.every_images,
        )


def kept(saved: Mapping[int, int | None], best: Sequence[int], keep: Keep) -> dict[int, str]:
    """Why each step's checkpoint stays; one that isn't in the answer is superseded.

    saved: the images shown at each step that has a checkpoint, None where that isn't known. best: steps, the best first.
    Applied again to what stays, it keeps all of it; so it doesn't matter how often it is applied while more come.
    """
    found: dict[int, str] = dict.fromkeys(_of_every(saved, keep.every_images), "one of every so many images")
    found |= dict.fromkeys((step for step in best[: keep.best] if step in saved), "one of the best")
    return found | dict.fromkeys(sorted(saved)[-keep.last :] if keep.last else (), "one of the newest")


def superseded(saved: Mapping[int, int | None], best: Sequence[int], keep: Keep) -> list[int]:
    """The steps whose checkpoints go, ascending."""
    return sorted(saved.keys() - kept(saved, best, keep).keys())


def _of_every(saved: Mapping[int, int | None], every: int | None) -> Collection[int]:
    """Of each stretch of so many images the first; not of the one before the first multiple."""
    first: dict[int, int] = {}
    for step, images in sorted(saved.items(), reverse=True):
        if every is not None and images is not None and images >= every:
            first[images // every] = step
    return first.values()
