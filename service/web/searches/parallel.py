"""Parallel coordinates of a search: an axis a searched field, the score's last, a line a trial. Pure; the template draws it.

Heights are in thousandths of an axis, from its top. The score's axis has the best on top; a trial without a value on an axis (a field
that it doesn't use, no score) has its point below all axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from service.web.words import score as shown_score
from trainer.search import Choice, Distribution, TrialRecord
from trainer.search.values import Scale, shown, wide

MOST_AXES = 12
"""Fields that are drawn; of more, the first ones."""
BELOW = 1090
FEW = 12
"""Categories of an axis that are all named."""
LONGEST = 15
SHADES = 8
"""Colours of lines, the strongest for the best."""


@dataclass(frozen=True)
class Tick:
    """A value that is named on an axis."""

    height: float
    text: str


@dataclass(frozen=True)
class Axis:
    """One axis. low, high: its ends, of the values themselves. names: of categories, at 0, 1, 2, …; flipped: low is on top."""

    path: str
    scale: Scale
    low: float
    high: float
    flipped: bool = False

    @property
    def leaf(self) -> str:
        """The path's last part, which says most."""
        return self.path.rpartition(".")[2]

    @property
    def stem(self) -> str:
        """All before it."""
        return self.path.removesuffix(self.leaf)

    def height(self, place: float | None) -> float:
        """Of a value's place on the scale."""
        if place is None:
            return BELOW
        low, high, at = (math.log(value) if self.scale.log else value for value in (self.low, self.high, place))
        share = (at - low) / (high - low)
        return round(1000 * (share if self.flipped else 1 - share), 1)

    @property
    def ticks(self) -> list[Tick]:
        """What is named on it."""
        names = self.scale.names
        if names:
            numbers = range(len(names)) if len(names) <= FEW else (0, len(names) - 1)
            return [Tick(self.height(number), _cut(names[number])) for number in numbers]
        between = _tens(self.low, self.high) if self.scale.log else _steps(self.low, self.high)
        return [Tick(self.height(value), shown_score(value)) for value in between]

    @property
    def kind(self) -> str:
        """For a script that goes from heights to values: `log`, `names` or `linear`."""
        return "names" if self.scale.names else "log" if self.scale.log else "linear"


@dataclass(frozen=True)
class Line:
    """One trial's. shade: from 0, for the best, or None for one without a score."""

    trial: str
    state: str
    points: str
    shade: int | None
    label: str


@dataclass(frozen=True)
class Parallel:
    """All of it."""

    axes: Sequence[Axis]
    lines: Sequence[Line]
    left_out: int
    """Fields that have no axis."""

    @property
    def gaps(self) -> set[int]:
        """The numbers of the axes that something lies below."""
        return {
            number
            for line in self.lines
            for number in range(len(self.axes))
            if f"{number},{BELOW}" in line.points.split()
        }


def parallel(
    space: Mapping[str, Distribution], metric: str, minimises: bool, trials: Sequence[TrialRecord]
) -> Parallel | None:
    """The lines are in the order in which they are to be drawn: the best last, on top. None: there is nothing to draw."""
    drawn = [trial for trial in trials if trial.current]
    if not space or not drawn:
        return None
    some = dict(list(space.items())[:MOST_AXES])
    scores = {trial.id: score for trial in drawn if (score := trial.score) is not None}
    axes = [_axis(path, one, drawn) for path, one in some.items()]
    axes.append(_score_axis(metric, minimises, list(scores.values())))
    places = _places(scores, minimises)
    lines = [_line(trial, axes, places, metric) for trial in drawn]
    lines.sort(key=lambda line: -places.get(line.trial, len(places)))
    return Parallel(axes, lines, len(space) - len(some))


def _line(trial: TrialRecord, axes: Sequence[Axis], ranks: Mapping[str, int], metric: str) -> Line:
    places = [axis.scale.place(trial.current[axis.path]) if axis.path in trial.current else None for axis in axes[:-1]]
    heights = [axis.height(place) for axis, place in zip(axes, [*places, trial.score], strict=True)]
    points = " ".join(f"{number},{height:g}" for number, height in enumerate(heights))
    told = [f"{metric} {shown_score(trial.score)}" if trial.score is not None else trial.state.value]
    told += [f"{path} {shown(value)}" for path, value in trial.current.items()]
    shade = ranks[trial.id] * SHADES // len(ranks) if trial.id in ranks else None
    return Line(trial.id, trial.state.value, points, shade, f"{trial.id}: {', '.join(told)}")


def _places(scores: Mapping[str, float], minimises: bool) -> dict[str, int]:
    """0 for the best."""
    order = sorted(scores, key=lambda trial: scores[trial] if minimises else -scores[trial])
    return {trial: place for place, trial in enumerate(order)}


def _axis(path: str, distribution: Distribution, trials: Sequence[TrialRecord]) -> Axis:
    """From end to end of what was asked for, and further if a trial has been perturbed beyond it."""
    scale = Scale.of(distribution)
    if isinstance(distribution, Choice):
        return Axis(path, scale, 0.0, max(1.0, len(scale.names) - 1.0))
    places = [scale.place(trial.current[path]) for trial in trials if path in trial.current]
    known = [place for place in places if place is not None]
    return Axis(path, scale, min(distribution.low, *known), max(distribution.high, *known))


def _score_axis(metric: str, minimises: bool, scores: Sequence[float]) -> Axis:
    scale = Scale(log=wide(scores))
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    if low == high:
        low, high = (low / 2, high * 2) if low > 0 else (low - 1, high + 1)
    return Axis(metric, scale, low, high, flipped=minimises)


def _tens(low: float, high: float) -> list[float]:
    """Powers of ten between them, thinned; the ends where there is at most one."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    if len(powers) < 2:
        return [low, math.sqrt(low * high), high]
    return [10.0**power for power in powers[:: -(-len(powers) // 6)]]


def _steps(low: float, high: float) -> list[float]:
    """Round numbers between them, about five."""
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    return [round(number * step, 12) for number in _between(low / step, high / step)]


def _between(low: float, high: float) -> Iterator[int]:
    yield from range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
