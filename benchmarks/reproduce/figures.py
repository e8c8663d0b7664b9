"""One measured figure beside the paper's, and several seeds' put together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import floor, log10
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """A measured value.

    error: its uncertainty, of the kind `error_of` says. paper: the paper's figure as it is printed there. target: what
    has to be reached, in the sense of `better`; None for a figure that only stands beside (a baseline, a check). note:
    what has to be known about this figure alone; it stands in the row. points: the curve that the figure sums up.
    """

    name: str
    measured: float
    error: float | None = None
    error_of: str = "standard error"
    paper: str = ""
    target: float | None = None
    better: Literal["higher", "lower"] = "higher"
    unit: str = ""
    note: str = ""
    points: Sequence[Mapping[str, float | None]] = ()

    @property
    def holds(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.measured >= self.target if self.better == "higher" else self.measured <= self.target

    def as_json(self) -> dict[str, Any]:
        """What the result's file holds of it."""
        return {**asdict(self), "holds": self.holds}


def over_seeds(runs: Sequence[Sequence[Figure]]) -> list[Figure]:
    """The figures of one run as they are; of several, each one's mean, with the standard deviation over the seeds.

    Raises ValueError for a figure that isn't in every run: its mean would be over other seeds than the row says.
    """
    if len(runs) == 1:
        return list(runs[0])
    names = [[figure.name for figure in run] for run in runs]
    if any(sorted(other) != sorted(names[0]) for other in names):
        odd = sorted(set().union(*names) - set.intersection(*map(set, names)))
        raise ValueError(f"not every seed has these figures: {', '.join(odd) or 'one of them is there twice'}")
    joined = []
    for figure in runs[0]:
        same = [other for run in runs for other in run if other.name == figure.name]
        values = [other.measured for other in same]
        spread = statistics.stdev(values) if len(values) > 1 else figure.error
        label = f"standard deviation over {len(values)} seeds" if len(values) > 1 else figure.error_of
        joined.append(
            Figure(
                figure.name,
                statistics.fmean(values),
                spread,
                label,
                figure.paper,
                figure.target,
                figure.better,
                figure.unit,
                "; ".join(dict.fromkeys(other.note for other in same if other.note)),
            )
        )
    return joined


def shown(figure: dict[str, Any]) -> str:
    """`224.1 ± 2.0 nats`: as many digits as the error leaves meaning."""
    value, error, unit = figure["measured"], figure["error"], figure["unit"]
    if error is None:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    else:
        digits = max(1, 1 - floor(log10(error))) if error > 0 else 2
        text = f"{value:.{digits}f} ± {error:.{digits}f}"
    return f"{text} {unit}".strip()
