"""Curves of the training and of its scores."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from trainer.report import charts
from trainer.report.charts import Chart, Series
from trainer.report.errors import LeftOut
from trainer.report.history import Curve
from trainer.report.page import Block, Charts, Table
from trainer.report.subject import Subject

BETTER = {"fid": min, "kid": min, "reconstruction": min, "precision": max, "recall": max}
TITLES = {
    "fid": "Fréchet distance (fid)", "kid": "Kernel distance (kid)", "precision": "Precision", "recall": "Recall",
    "reconstruction": "Reconstruction error",
}  # fmt: skip


def losses(subject: Subject) -> Sequence[Block]:
    """A small chart for each group of metrics."""
    metrics = {name: curve for name, curve in subject.history.metrics.items() if len(curve.values) > 1}
    if not metrics:
        raise LeftOut("no curves are at hand: neither the job's events nor its MLflow run")
    groups: dict[str, list[str]] = {}
    for name in sorted(metrics):
        groups.setdefault(_group(name), []).append(name)
    drawn = [
        _panel(group, {name: metrics[name] for name in names}) for group, names in sorted(groups.items(), key=_order)
    ]
    caption = f"From {subject.history.source}."
    if any(len(curve.values) > charts.MOST_POINTS for curve in metrics.values()):
        caption += f" Each point is the mean of a stretch, with a band from its least to its greatest value ({charts.MOST_POINTS} stretches)."
    return [Charts(drawn, caption)]


def _group(name: str) -> str:
    """Metrics that belong in one chart: all losses; the real and the fake side of the same thing."""
    if name.endswith("/loss"):
        return "loss"
    return re.sub(r"(^|[/_])(real|fake)$", "", name) or name


def _order(item: tuple[str, list[str]]) -> tuple[int, str]:
    """Losses first, speed last."""
    return {"loss": 0, "images_per_second": 2}.get(item[0], 1), item[0]


def _panel(group: str, curves: dict[str, Curve]) -> Chart:
    title = {"loss": "Losses", "images_per_second": "Speed, images/s"}.get(group) or " and ".join(curves)
    series = [Series(name, _axis(curve), curve.values) for name, curve in curves.items()]
    values = [value for curve in curves.values() for value in curve.values]
    return charts.lines(title, series, x=axis_name(*curves.values()), log=wants_log(values))


def wants_log(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis serves: all values above 0, and their bulk over more than a factor of 50."""
    known = np.asarray([value for value in values if math.isfinite(value)])
    if not len(known) or known.min() <= 0.0:
        return False
    low, high = np.quantile(known, [0.02, 0.98])
    return bool(high > 50.0 * low)


def scores(subject: Subject) -> Sequence[Block]:
    """A chart for each score, and when it was best."""
    curves = {name: curve for name, curve in subject.history.scores.items() if len(curve.values) > 1}
    if not curves:
        some = (
            "it was scored once, at the end" if subject.history.scores or subject.scores else "it has not been scored"
        )
        raise LeftOut(f"{some}; evaluation.every_steps makes it a curve")
    drawn = []
    rows = []
    for name, curve in curves.items():
        x = _axis(curve)
        drawn.append(
            charts.lines(
                TITLES.get(name, name),
                [Series(name, x, curve.values, marked=True)],
                x=axis_name(curve),
                log=wants_log(curve.values),
            )
        )
        best = curve.values.index(BETTER.get(name, min)(curve.values))
        rows.append([name, f"{curve.values[best]:.4g}", f"{x[best]:,}", f"{curve.values[-1]:.4g}"])
    heads = ["score", "best", f"after so many {axis_name(*curves.values())}", "last"]
    return [Charts(drawn), Table(rows, heads)]


def _axis(curve: Curve) -> Sequence[int]:
    return curve.images or curve.steps


def axis_name(*curves: Curve) -> str:
    """What the axis counts."""
    return "images shown" if all(curve.images for curve in curves) else "steps"
