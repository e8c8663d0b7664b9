"""Pictures of searches, as SVG in the page's colours. Trials are coloured by rank: the better, the stronger.

Every function draws what it is given; what is left out, and why, is the sections' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from trainer.report.charts import CARD, INK, LINE, RAMP, SERIES, STYLE, Chart, canvas, drawn, short
from trainer.search.values import Scale, wide

BEST, BAD = SERIES[1], SERIES[3]
FEW = 12
"""Categories of an axis that are all named."""


@dataclass(frozen=True)
class Path:
    """One trial's scores over its images. rank: 0 for the best … 1. end: "", "stopped" or "diverged"."""

    label: str
    images: Sequence[float]
    scores: Sequence[float]
    rank: float
    best: bool = False
    end: str = ""


@dataclass(frozen=True)
class Axis:
    """A searched field: its path, scale, and each trial's value on it (None: not used by that trial)."""

    path: str
    scale: Scale
    places: Sequence[float | None]


def coloured(rank: float) -> str:
    """The colour of a trial's rank, 0 for the best … 1."""
    return RAMP[min(len(RAMP) - 1, int(rank * len(RAMP)))]


def trajectories(title: str, paths: Sequence[Path], *, y: str) -> Chart:
    """Scores over the images shown; the best on top, a bar where one was stopped, a cross where one diverged."""
    values = [score for path in paths for score in path.scores]
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(title, "real images shown to the trial", y, wide=True, height=3.2)
        for path in sorted(paths, key=lambda one: (one.best, -one.rank)):
            colour = BEST if path.best else coloured(path.rank)
            marker = "o" if len(path.images) == 1 or path.best else ""
            axes.plot(
                path.images,
                path.scores,
                color=colour,
                linewidth=2.2 if path.best else 1.0,
                marker=marker,
                markersize=3.5,
            )
            if path.end and path.images:
                mark, size, tone = ("x", 5.5, BAD) if path.end == "diverged" else ("|", 7, colour)
                axes.plot(
                    path.images[-1], path.scores[-1], marker=mark, markersize=size, color=tone, markeredgewidth=1.6
                )
        if wide(values):
            axes.set_yscale("log")
        axes.set_xlim(left=0)
        said = f"{title}: {len(paths)} trials, scores from {min(values):.4g} to {max(values):.4g}"
        return Chart(drawn(figure, said), title, wide=True)


def progress(title: str, spent: Sequence[float], best: Sequence[float], *, y: str) -> Chart:
    """The best score so far over the images of all trials: a staircase."""
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(title, "real images shown to all trials", y, wide=True, height=2.3)
        axes.step(spent, best, where="post", color=SERIES[0], linewidth=1.8)
        axes.plot(spent[-1], best[-1], "o", color=BEST, markersize=5)
        if wide(best):
            axes.set_yscale("log")
        axes.set_xlim(left=0)
        said = f"{title}: from {best[0]:.4g} to {best[-1]:.4g} over {spent[-1]:,.0f} images"
        return Chart(drawn(figure, said), title, wide=True)


def parallel(
    title: str, axes_of: Sequence[Axis], scores: Sequence[float], metric: str, ranks: Sequence[float]
) -> Chart:
    """A line for each trial through its values and its score. The first trial is the best."""
    columns = [*axes_of, Axis(metric, Scale(log=wide(scores)), list(scores))]
    heights = np.array([_heights(axis) for axis in columns]).T
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(title, "", "", wide=True, height=3.6)
        axes.grid(visible=False)
        order = np.argsort(ranks)[::-1]
        places = np.arange(len(columns))
        lines = LineCollection(
            [np.column_stack([places, heights[row]]) for row in order],
            colors=[BEST if row == 0 else coloured(ranks[row]) for row in order],
            linewidths=[2.4 if row == 0 else 1.1 for row in order],
        )
        axes.add_collection(lines)
        for place, axis in zip(places, columns, strict=True):
            _upright(axes, float(place), axis)
        axes.set_xticks(places, [_broken(axis.path) for axis in columns], parse_math=False)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_xlim(-0.35, len(columns) - 0.35)
        axes.set_ylim(-0.2 if np.any(heights < 0) else -0.06, 1.06)
        said = f"{title}: {len(scores)} trials over {', '.join(axis.path for axis in columns)}"
        return Chart(drawn(figure, said), title, wide=True)


def cloud(
    axis: Axis,
    scores: Sequence[float],
    ranks: Sequence[float],
    *,
    diverged: Sequence[float | None],
    y: str,
    low_is_good: bool,
) -> Chart:
    """Score against the field's value; the first trial is the best. Diverged trials are crosses at the bad edge."""
    shown = [
        (place, score, rank) for place, score, rank in zip(axis.places, scores, ranks, strict=True) if place is not None
    ]
    lost = [place for place in diverged if place is not None]
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(axis.path, "", y)
        for place, score, rank in reversed(shown):
            axes.plot(place, score, "o", color=coloured(rank), markersize=4.5)
        if axis.places[0] is not None:
            axes.plot(
                axis.places[0], scores[0], "o", color=BEST, markersize=7, markeredgecolor=INK, markeredgewidth=0.8
            )
        if wide(scores):
            axes.set_yscale("log")
        if lost:
            axes.plot(
                lost,
                [0.98 if low_is_good else 0.02] * len(lost),
                "x",
                color=BAD,
                markersize=5.5,
                markeredgewidth=1.4,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
        _horizontal(axes, axis.scale)
        said = f"{y} against {axis.path}: {len(shown)} trials, {len(lost)} diverged"
        return Chart(drawn(figure, said), axis.path)


def shares(title: str, given: Mapping[str, float]) -> Chart:
    """Horizontal bars, the longest on top."""
    names, values = list(given), list(given.values())
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(title, "share", "", wide=True, height=0.7 + 0.26 * len(names))
        axes.grid(visible=False)
        places = np.arange(len(names))[::-1]
        axes.barh(places, values, 0.62, color=SERIES[0])
        for place, value in zip(places, values, strict=True):
            axes.annotate(f"{value:.0%}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(places, names, parse_math=False)
        axes.set_xlim(0.0, max(values) * 1.12)
        said = f"{title}: {', '.join(f'{name} {value:.0%}' for name, value in given.items())}"
        return Chart(drawn(figure, said), title, wide=True)


def lineage(title: str, rows: Sequence[tuple[str, float, bool]], arrows: Sequence[tuple[int, int, float]]) -> Chart:
    """A line for each trial (label, images, whether it is the best) and arrows (source row, target row, images)."""
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(title, "real images shown to the trial", "", wide=True, height=0.8 + 0.24 * len(rows))
        axes.grid(visible=False)
        for number, (_, images, best) in enumerate(rows):
            axes.plot([0, images], [number, number], color=BEST if best else LINE, linewidth=3.0 if best else 2.0)
        for source, target, images in arrows:
            axes.annotate(
                "", (images, target), (images, source),
                arrowprops={"arrowstyle": "-|>", "color": SERIES[0], "linewidth": 1.2, "shrinkA": 0, "shrinkB": 1},
            )  # fmt: skip
            axes.plot(images, source, "o", color=SERIES[0], markersize=3.5)
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], parse_math=False)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        said = f"{title}: {len(arrows)} clones among {len(rows)} trials"
        return Chart(drawn(figure, said), title, wide=True)


def _range(axis: Axis) -> tuple[float, float]:
    """The ends of an axis, of its logarithms where it has such."""
    if axis.scale.names:
        return 0.0, max(1.0, len(axis.scale.names) - 1.0)
    there = [np.log10(place) if axis.scale.log else place for place in axis.places if place is not None]
    low, high = (min(there), max(there)) if there else (0.0, 1.0)
    return (low - 0.5, low + 0.5) if low == high else (float(low), float(high))


def _heights(axis: Axis) -> list[float]:
    """Of each trial in [0, 1]; below, at −0.15, those that don't use the field."""
    low, high = _range(axis)
    return [
        -0.15 if place is None else float(((np.log10(place) if axis.scale.log else place) - low) / (high - low))
        for place in axis.places
    ]


def _upright(axes: Axes, place: float, axis: Axis) -> None:
    """One axis of parallel coordinates with its ticks."""
    axes.plot([place, place], [0, 1], color=INK, linewidth=0.8)
    low, high = _range(axis)
    if axis.scale.names:
        names = axis.scale.names
        ticks = [(number / (high - low), name) for number, name in enumerate(names)]
        ticks = ticks if len(names) <= FEW else [ticks[0], ticks[-1]]
    else:
        ends = np.linspace(low, high, 5)
        ticks = [
            (share, short(float(f"{(10**end if axis.scale.log else end):.4g}")))
            for share, end in zip(np.linspace(0, 1, 5), ends, strict=True)
        ]
    if any(one is None for one in axis.places):
        ticks = [*ticks, (-0.15, "not used")]
    for height, text in ticks:
        text = text if len(text) <= 14 else text[:13] + "…"
        backed = {"boxstyle": "square,pad=0.1", "facecolor": CARD, "edgecolor": "none", "alpha": 0.75}
        axes.text(place + 0.04, height, text, fontsize=7.5, va="center", parse_math=False, bbox=backed, zorder=5)


def _horizontal(axes: Axes, scale: Scale) -> None:
    """The value's axis of a cloud."""
    if scale.log:
        axes.set_xscale("log")
    if not scale.names:
        return
    names = [name if len(name) <= 12 else name[:11] + "…" for name in scale.names]
    step = -(-len(names) // FEW)
    turned = 30 if sum(map(len, names[::step])) > 36 else 0
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=turned, parse_math=False)
    axes.set_xlim(-0.5, len(names) - 0.5)


def _broken(path: str) -> str:
    """A long path over two lines."""
    head, dot, leaf = path.rpartition(".")
    return f"{head}{dot}\n{leaf}" if len(path) > 12 and dot else path
