"""The pictures that benchmarks draw into docs/images."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no window, wherever it runs

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import norm

DOCS = Path(__file__).parent.parent / "docs" / "images"
EXACT, REAL, FAKE, D, CRITIC, PENALISED = "0.45", "#1f6fb4", "#c2500e", "#8a3fa0", "#1b7f4c", "#b8860b"


def folder(options: argparse.Namespace) -> Path | None:
    """Where this run draws: `--pictures`, else docs/images; nowhere in a quick run that asks for none."""
    chosen: Path | None = options.pictures
    return chosen or (None if options.quick else DOCS)


@contextmanager
def canvas(path: Path, columns: int, rows: int = 1, size: tuple[float, float] = (4.6, 3.4)) -> Iterator[list[Axes]]:
    """Axes, row by row, in one figure of `columns` × `rows` panels, `size` inches each; written to `path` at the end."""
    figure, grid = plt.subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False)
    try:
        yield list(grid.flat)
        figure.tight_layout()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130, metadata={"Software": None})
    finally:
        plt.close(figure)


def parallel_lines(path: Path, rows: Sequence[Mapping[str, Any]], k: float) -> None:
    """JSD and W₁ of two parallel lines over θ, exact and estimated. k: the clipped critic's scale, one for all θ."""
    theta = np.array([row["theta"] for row in rows])

    def column(name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows])

    with canvas(path, 2) as (left, right):
        for side in ((theta.min(), 0.0), (0.0, theta.max())):
            left.plot(side, [np.log(2)] * 2, color=EXACT, lw=3, label="exact" if side[0] < 0 else None)
        left.plot([0], [np.log(2)], "o", color=EXACT, mfc="white", ms=7)
        left.plot([0], [0], "o", color=EXACT, ms=7)
        left.plot(theta, column("jsd_discriminator"), "x", color=D, ms=8, mew=2, label="from a trained D")
        left.set(
            title="Jensen–Shannon divergence: no slope to follow", xlabel="θ", ylabel="JSD (nats)", ylim=(-0.05, 0.8)
        )
        fine = np.array([theta.min(), 0.0, theta.max()])
        right.plot(fine, np.abs(fine), color=EXACT, lw=3, label="exact")
        right.plot(
            theta, column("w1_clipped_times_k") / k, "x", color=CRITIC, ms=8, mew=2, label=f"clipped critic ÷ {k:.4f}"
        )
        right.plot(
            theta, column("w1_penalised"), "+", color=PENALISED, ms=9, mew=2, label="critic with gradient penalty"
        )
        right.set(title="Wasserstein-1: falls towards the target", xlabel="θ", ylabel="W₁")
        for axes in (left, right):
            axes.legend(frameon=False)
            axes.grid(alpha=0.25)


def two_gaussians(path: Path, curves: Mapping[str, NDArray[np.float64]], mean: float) -> None:
    """D and critic along the line between N(−mean, 1), real, and N(mean, 1), fake: outputs, and slopes."""
    x = curves["x"]
    with canvas(path, 2) as (left, right):
        for at, colour, name in ((-mean, REAL, "real density"), (mean, FAKE, "fake density")):
            left.fill_between(x, norm.pdf(x, at), color=colour, alpha=0.35, lw=0, label=name)
        left.plot(x, curves["d_exact"], color=EXACT, lw=4, alpha=0.6, label="best D")
        left.plot(x, curves["d"], color=D, label="trained D")
        centred = curves["critic"] - np.interp(0.0, x, curves["critic"])
        left.plot(x, centred / np.abs(centred).max(), color=CRITIC, label="critic (scaled to ±1)")
        left.set(title="Output", xlabel="x")
        right.semilogy(x, curves["d_exact_slope"], color=EXACT, lw=4, alpha=0.6, label="best D")
        right.semilogy(x, curves["d_slope"], color=D, label="trained D")
        right.semilogy(x, curves["critic_slope"], color=CRITIC, label="critic ÷ K")
        right.set(title="Size of the gradient", xlabel="x", ylim=(1e-10, 10))
        left.legend(frameon=False, fontsize=8)
        right.legend(frameon=False, fontsize=8)
        right.grid(alpha=0.25)


def mixtures(
    path: Path,
    clouds: Mapping[tuple[str, str], NDArray[np.float32]],
    centres: Mapping[str, NDArray[np.float32]],
    rows: Mapping[tuple[str, str], Mapping[str, Any]],
) -> None:
    """Samples [N, 2] of each (method, mixture) over the mixture's centres, a row of panels for each mixture."""
    methods = list(dict.fromkeys(method for method, _ in clouds))
    with canvas(path, len(methods), len(centres), (3.1, 3.3)) as axes:
        for panel, (kind, method) in zip(axes, ((kind, method) for kind in centres for method in methods), strict=True):
            row, points = rows[method, kind], clouds[method, kind][:3000]
            panel.scatter(*points.T, s=2, color=FAKE, alpha=0.35, lw=0)
            panel.scatter(*centres[kind].T, s=26, marker="+", color=REAL, lw=1)
            covered = f"{row['covered']} of {row['modes']} covered, {row['precision']:.0%} within 3σ"
            panel.set_title(f"{method}\n{covered}", fontsize=9)
            panel.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xticks=[], yticks=[])
