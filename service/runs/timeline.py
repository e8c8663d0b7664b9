"""All sample grids of a training in order, for whoever leafs through them: the step of each, and how many images were shown by then.

There may be thousands, and what was shown is in their files. But a training shows equally many images a step over long stretches: so
where a grid in the middle lies on the line between two others, those between them do too, and few files have to be opened.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from service.runs import samples
from trainer.images import PAD, GridFacts

MOST_OPENED = 64
"""Of a training whose batch changes more often than that finds, the images between are by proportion."""


class Moment(NamedTuple):
    """A grid."""

    step: int
    images: int | None
    """Real images shown when it was drawn; None where files don't say."""
    tag: str
    """As `samples.Grid` has it."""


_ZERO = Moment(0, 0, "")


@dataclass(frozen=True)
class Timeline:
    """All of them."""

    moments: tuple[Moment, ...] = ()
    """Oldest first."""
    tiles: GridFacts | None = None
    """How the images lie in the newest, and in all of them: their latents are the same."""

    def nearest(self, value: int, *, images: bool = False) -> Moment | None:
        """The grid of that step, or of so many images, or the next one to it; None if there is none."""
        return min(self.moments, key=lambda one: abs(_place(one, images) - value), default=None)

    def before(self, step: int) -> Moment | None:
        """The last one of at most that step."""
        return next((one for one in reversed(self.moments) if one.step <= step), None)

    def images(self, step: int) -> int | None:
        """Shown at that step, by the grids around it; None: nothing is known."""
        known = self._known
        if len(known) == 1:
            return None
        place = bisect_left(known, step, key=lambda one: one.step)
        if place < len(known) and known[place].step == step:
            return known[place].images
        low, high = (known[place - 1], known[place]) if place < len(known) else (_ZERO, known[-1])
        begin, end = low.images or 0, high.images or 0
        return begin + round((end - begin) * (step - low.step) / (high.step - low.step))

    @cached_property
    def _known(self) -> list[Moment]:
        """What is known of images, with the beginning."""
        return [_ZERO, *(one for one in self.moments if one.images is not None)]

    @property
    def packed(self) -> str:
        """For a script, as `STEP,IMAGES,TAG` each, with spaces between."""
        return " ".join(f"{one.step},{'' if one.images is None else one.images},{one.tag}" for one in self.moments)

    @property
    def layout(self) -> dict[str, int]:
        """Where the images lie: pixels of the grid's file."""
        if self.tiles is None:
            return {}
        facts = self.tiles
        across, down = facts.width * facts.enlarged, facts.height * facts.enlarged
        return {"count": facts.count, "columns": facts.columns, "width": across, "height": down, "pad": PAD}


def of(root: Path, folder: Path) -> Timeline:
    """Of a job or a trial. root: what `folder` lies below."""
    found = samples.tags(root, folder)
    if not found:
        return Timeline()
    newest = _facts(root, folder, found[-1][0])
    shown = shown_at([step for step, _ in found], lambda step: _shown(_facts(root, folder, step)), _shown(newest))
    return Timeline(tuple(Moment(step, images, tag) for (step, tag), images in zip(found, shown, strict=True)), newest)


def shown_at(steps: Sequence[int], ask: Callable[[int], int | None], last: int | None) -> list[int | None]:
    """Of each step. ask: opens a file. last: what is known of the last one."""
    found: list[int | None] = [None] * len(steps)
    found[-1], found[0] = last, last if len(steps) == 1 else ask(steps[0])
    stretches, left = [(0, len(steps) - 1)], MOST_OPENED
    while stretches:
        low, high = stretches.pop(0)  # the longest first: what is left at the end is the least that is guessed
        if high - low < 2:
            continue
        middle = (low + high) // 2
        guess = _between(steps, found, low, high)
        known = ask(steps[middle]) if left > 0 else guess(middle)
        left -= 1
        if known == guess(middle):
            found[low + 1 : high] = [guess(place) for place in range(low + 1, high)]
        else:
            found[middle] = known
            stretches += [(low, middle), (middle, high)]
    return found


def _between(steps: Sequence[int], found: Sequence[int | None], low: int, high: int) -> Callable[[int], int | None]:
    """What those between two grids have shown if it went on evenly."""
    begin, end = found[low], found[high]
    if begin is None or end is None:
        return lambda place: None
    return lambda place: begin + round((end - begin) * (steps[place] - steps[low]) / (steps[high] - steps[low]))


def _facts(root: Path, folder: Path, step: int) -> GridFacts | None:
    opened = samples.at(root, folder, step)
    if opened is None:
        return None
    opened.file.close()
    return opened.grid.facts


def _shown(facts: GridFacts | None) -> int | None:
    return facts.images if facts is not None else None


def _place(one: Moment, images: bool) -> int:
    return one.images if images and one.images is not None else one.step
