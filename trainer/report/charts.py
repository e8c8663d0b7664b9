"""Curves as inline SVG that takes its colours from the page, so that light and dark both read well.

matplotlib draws with marker colours; they are exchanged for CSS variables afterwards.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

INK, LINE, CARD = "#010101", "#020202", "#050505"
SERIES = ("#030301", "#030302", "#030303", "#030304", "#030305")
RAMP = tuple(f"#04040{i}" for i in range(7))
"""From the best to the worst."""
COLOURS = {
    INK: "var(--ink)",
    LINE: "var(--line)",
    CARD: "var(--card)",
    **{mark: f"var(--s{i})" for i, mark in enumerate(SERIES, 1)},
    **{mark: f"var(--r{i})" for i, mark in enumerate(RAMP)},
}
MOST_POINTS = 300
"""A longer curve is drawn as means of so many stretches, with a band from least to greatest."""
STYLE = {
    "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left", "text.color": INK,
    "axes.edgecolor": LINE, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.6, "legend.frameon": False,
    "legend.fontsize": 8, "figure.constrained_layout.use": True, "figure.constrained_layout.h_pad": 0.02, "axes.axisbelow": True,
}  # fmt: skip
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Series:
    """One curve. marked: a dot at each point (few points)."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    marked: bool = False


@dataclass(frozen=True)
class Chart:
    """An SVG for the page, with a text that says the same."""

    svg: Markup
    title: str
    wide: bool = False


def lines(title: str, series: Sequence[Series], *, x: str, y: str = "", log: bool = False) -> Chart:
    """Curves over a common axis. `log`: logarithmic values (they must be above 0)."""
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(title, x, y)
        for colour, one in zip(itertools.cycle(SERIES), series, strict=False):
            _draw(axes, one, colour)
        if log:
            axes.set_yscale("log")
        if len(series) > 1:
            axes.legend(loc="best")
        said = "; ".join(_said(one) for one in series)
        return Chart(drawn(figure, f"{title}: {said}"), title)


def histogram(title: str, groups: Sequence[tuple[str, ArrayLike]], *, x: str, bins: int = 40) -> Chart:
    """Distributions of several groups over common bins, as shares of each group."""
    values = [np.asarray(given, dtype=np.float64) for _, given in groups]
    edges = np.histogram_bin_edges(np.concatenate(values), bins=bins)
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(title, x, "share")
        for colour, (label, _), given in zip(SERIES, groups, values, strict=False):
            shares, _ = np.histogram(given, edges)
            axes.stairs(shares / max(1, len(given)), edges, fill=True, alpha=0.3, color=colour)
            axes.stairs(shares / max(1, len(given)), edges, color=colour, linewidth=1.4, label=label)
        axes.legend(loc="best")
        said = "; ".join(
            f"{label}: median {np.median(given):.4g}" for (label, _), given in zip(groups, values, strict=True)
        )
        return Chart(drawn(figure, f"{title}: {said}"), title)


def bars(title: str, names: Sequence[str], groups: Sequence[tuple[str, Sequence[float]]], *, y: str) -> Chart:
    """Values by name, the groups side by side. Names are shortened to 12 letters below the axis."""
    places, width = np.arange(len(names)), 0.8 / len(groups)
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = canvas(title, "", y, wide=True)
        for number, (colour, (label, given)) in enumerate(zip(SERIES, groups, strict=False)):
            axes.bar(places + (number - (len(groups) - 1) / 2) * width, given, width, color=colour, label=label)
        axes.grid(visible=False, axis="x")
        short = [name if len(name) <= 12 else name[:11] + "…" for name in names]
        axes.set_xticks(places, short, rotation=45 if max(map(len, short)) > 4 else 0, parse_math=False)
        axes.set_ylim(bottom=0.0)
        if len(groups) > 1:
            axes.legend(loc="best", ncols=len(groups))
        said = "; ".join(
            f"{label}: " + ", ".join(f"{name} {value:.3g}" for name, value in zip(names, given, strict=True))
            for label, given in groups
        )
        return Chart(drawn(figure, f"{title}: {said}"), title, wide=True)


def canvas(title: str, x: str, y: str, *, wide: bool = False, height: float = 2.3) -> tuple[Figure, Axes]:
    """A figure of the page's width, or of a column's, and its axes; within `rc_context(STYLE)`. height: inches."""
    figure = Figure(figsize=(8.4 if wide else 3.6, height))
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    axes.xaxis.set_major_formatter(short)
    axes.tick_params(length=0)
    return figure, axes


def _draw(axes: Axes, series: Series, colour: str) -> None:
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    marker = "o" if series.marked else ""
    if len(x) > MOST_POINTS:
        x, y, low, high = thinned(x, y)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, y, color=colour, linewidth=1.5, marker=marker, markersize=4, label=series.label)


def thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """(x, mean, least, greatest) of `MOST_POINTS` stretches of about equal length."""
    parts = np.array_split(np.arange(len(x)), MOST_POINTS)
    return (
        np.array([x[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
        np.array([y[part].min() for part in parts]),
        np.array([y[part].max() for part in parts]),
    )


def _said(series: Series) -> str:
    """A curve in words, for who can't see it."""
    if not len(series.y):
        return f"{series.label}: empty"
    y = np.asarray(series.y, np.float64)
    return f"{series.label} from {y[0]:.4g} to {y[-1]:.4g}, least {y.min():.4g}, greatest {y.max():.4g}"


def short(value: float, _place: object = None) -> str:
    """`60k`, `1.5M` on an axis."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def drawn(figure: Figure, said: str) -> Markup:
    """The figure as SVG in the page's colours. said: the same in words."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    prefix = f"c{next(_numbers)}-"  # ids are the page's, and every figure calls its own figure_1
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for mark, variable in COLOURS.items():
        svg = svg.replace(mark, variable)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(said)}"', 1))  # noqa: S704 — matplotlib escapes its texts
