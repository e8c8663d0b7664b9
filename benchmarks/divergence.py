"""The survey's two pictures of why divergences differ, redrawn and measured with the product's own objectives.

    python -m benchmarks.divergence [--quick] [--pictures DIR]

Parallel lines (Arjovsky et al. 2017, Example 1 and Fig. 1): P₀ = (0, Z) and P_θ = (θ, Z) with Z ~ U(0, 1), so W₁ = |θ|
while JSD = log 2 for every θ ≠ 0. Two Gaussians (Fig. 2): what a trained discriminator and a trained critic say along the
line, and their gradients. Nets train by D's phase of the product; the numbers are means over dense grids, not batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from benchmarks import pictures
from benchmarks.common import Report, arguments
from trainer.evaluate.divergences import (
    LOG2,
    jensen_shannon_of_densities,
    jensen_shannon_of_samples,
    wasserstein,
)
from trainer.evaluate.neural import (
    clipped_slope,
    jensen_shannon_estimate,
    largest_slope,
    slopes,
    wasserstein_estimate,
)
from trainer.evaluate.points import Given, PointMlp, PointTrainer, Sampler, point_spec
from trainer.spec import Adam, Objective, RMSProp
from trainer.spec.sections import Clip, GradientPenalty

THETAS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
MEAN = 3.0
"""The Gaussians are N(−3, 1), real, and N(3, 1), fake."""


@dataclass(frozen=True)
class Judge:
    """An objective, D's hidden layers and how it is trained."""

    objective: Objective
    hidden: tuple[int, ...]
    optimizer: Adam | RMSProp
    steps: int

    def trained(self, real: Sampler, fake: Sampler, dims: int, seed: int, quick: bool) -> PointMlp:
        """D after `steps` updates by the product's phase."""
        steps = 20 if quick else self.steps
        both = {"G": self.optimizer, "D": self.optimizer}
        spec = point_spec(self.objective, both, batch=64, steps=steps, seed=seed)
        torch.manual_seed(seed)
        net = PointMlp([dims, *self.hidden, 1], as_points=False)
        trainer = PointTrainer(spec, {"G": Given(), "D": net}, real, fake, phases=("D",))
        for _ in range(steps):
            trainer.step()
        return net


CLIP = Clip()
DISCRIMINATOR = Judge(Objective(loss="minimax"), (64, 64), Adam(lr=2e-3, beta1=0.9), 400)
CLIPPED = Judge(Objective(loss="wasserstein", penalties=(CLIP,)), (512,), RMSProp(), 600)
PENALISED = Judge(
    Objective(loss="wasserstein", penalties=(GradientPenalty(),)), (64, 64), Adam(lr=2e-3, beta1=0.5, beta2=0.9), 400
)
"""The clipped critic has the paper's bound 0.01 and RMSProp at 5e-5; one hidden layer, so that K is easily understood."""


def line(theta: float) -> Sampler:
    """Points (θ, Z), Z ~ U(0, 1)."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        z = torch.rand(n, generator=generator)
        return torch.stack([torch.full_like(z, theta), z], dim=1)[:, :, None, None]

    return draw


def line_grid(theta: float, n: int = 512) -> Tensor:
    """The same at the midpoints of n equal parts."""
    z = (torch.arange(n) + 0.5) / n
    return torch.stack([torch.full_like(z, theta), z], dim=1)[:, :, None, None]


def normal(mean: float) -> Sampler:
    """N(mean, 1) on the line."""
    return lambda n, generator: mean + torch.randn(n, 1, 1, 1, generator=generator)


@torch.no_grad()
def values(net: PointMlp, points: Tensor) -> Tensor:
    """net at the points, without a graph."""
    found: Tensor = net(points)
    return found


def between(theta: float) -> Tensor:
    """A grid over the rectangle between the two lines."""
    return torch.cat([line_grid(theta * share, 128) for share in np.linspace(0, 1, 41).tolist()])


def lines(report: Report) -> list[dict[str, Any]]:
    """A row for each θ: both divergences, exact and as trained nets estimate them."""
    rows = []
    for theta in (-0.5, 0.0, 1.0) if report.quick else THETAS:
        moved, still = line_grid(theta), line_grid(0.0)
        x, y = moved.flatten(1).numpy().astype(float), still.flatten(1).numpy().astype(float)

        def estimate(judge: Judge, at: float = theta) -> tuple[PointMlp, Tensor, Tensor]:
            net = judge.trained(line(at), line(0.0), 2, report.seed, report.quick)
            return net, values(net, line_grid(at)), values(net, line_grid(0.0))

        _, d_real, d_fake = estimate(DISCRIMINATOR)
        clipped, c_real, c_fake = estimate(CLIPPED)
        _, p_real, p_fake = estimate(PENALISED)
        slope = largest_slope(clipped, between(theta))
        rows.append(
            {
                "theta": theta,
                "jsd": jensen_shannon_of_samples(x, y),
                "jsd_discriminator": jensen_shannon_estimate(d_real, d_fake),
                "w1": wasserstein(x, y),
                "w1_clipped": wasserstein_estimate(c_real, c_fake, slope),
                "w1_clipped_times_k": wasserstein_estimate(c_real, c_fake),
                "k_measured": slope,
                "w1_penalised": wasserstein_estimate(p_real, p_fake),
            }
        )
    return rows


def judge_lines(report: Report, rows: Sequence[dict[str, Any]]) -> float:
    """Targets of the lines; the one K for all θ: the median of K·W₁ / |θ|."""
    apart = [row for row in rows if row["theta"] != 0]
    (same,) = [row for row in rows if row["theta"] == 0]
    k = float(np.median([row["w1_clipped_times_k"] / abs(row["theta"]) for row in apart]))

    def worst(column: str, scale: float = 1.0) -> float:
        return max(abs(row[column] / scale / abs(row["theta"]) - 1) for row in apart)

    report.at_most("lines: |exact JSD − log 2|, θ ≠ 0", 1e-9, measured=max(abs(row["jsd"] - LOG2) for row in apart))
    report.at_most("lines: |exact W₁ − |θ||", 1e-9, measured=max(abs(row["w1"] - abs(row["theta"])) for row in rows))
    report.at_most("lines: critic's W₁ off |θ|, K its measured slope", 0.05, measured=worst("w1_clipped"))
    report.at_most("lines: critic's W₁ off |θ|, one K for all θ", 0.05, measured=worst("w1_clipped_times_k", k))
    report.at_least(
        "lines: D's JSD ÷ log 2, θ ≠ 0", 0.95, measured=min(row["jsd_discriminator"] for row in apart) / LOG2
    )
    report.at_most("lines: D's JSD at θ = 0", 0.01, measured=abs(same["jsd_discriminator"]))
    limit = clipped_slope([2, *CLIPPED.hidden, 1], CLIP.bound, along_axis=True)
    report.note(
        f"K is what the clip leaves the critic: here {k:.4f}, the same for all θ. No net of these widths with weights in "
        f"±{CLIP.bound:g} can have more than {limit:.4f} (0.01² · 512); trained ones reach {k / limit:.0%} of it, because "
        "most units whose bias starts negative are dead on both lines and stay so"
    )
    report.note(
        "the penalised critic needs no K, but its penalty is soft: the best slope is 1 + |θ|/(2λ), so with λ = 10 its "
        "estimate rises to |θ| (1 + |θ|/20) as it trains"
    )
    return k


def gaussians(report: Report) -> dict[str, Any]:
    """D's and the critic's outputs and slopes along the line between two Gaussians."""
    real, fake = normal(-MEAN), normal(MEAN)
    d = DISCRIMINATOR.trained(real, fake, 1, report.seed, report.quick)
    critic = CLIPPED.trained(real, fake, 1, report.seed, report.quick)
    x = torch.linspace(-MEAN - 3, MEAN + 3, 1201)[:, None, None, None]
    output = values(d, x).double().sigmoid()
    scale = largest_slope(critic, x)
    best = scipy.stats.norm(-MEAN, 1).pdf, scipy.stats.norm(MEAN, 1).pdf
    grid = x.flatten().double().numpy()
    exact = 1 / (1 + np.exp(2 * MEAN * grid))  # p / (p + q)
    found = {
        "x": grid,
        "d_exact": exact,
        "d_exact_slope": 2 * MEAN * exact * (1 - exact),
        "d": output.numpy(),
        "d_slope": (output * (1 - output) * slopes(d, x)).numpy(),
        "critic": values(critic, x).double().numpy() / scale,
        "critic_slope": slopes(critic, x).double().numpy() / scale,
    }
    bulk = np.abs(np.abs(grid) - MEAN) <= 2  # where 95 % of either distribution lie
    for name in ("d_exact", "d", "critic"):
        slope = found[f"{name}_slope"]
        shares = slope[bulk] / slope.max()
        report.row(
            gaussians=name, median_slope_share=float(np.median(shares)), smallest_slope_share=float(shares.min())
        )
    critic_shares = found["critic_slope"][bulk] / found["critic_slope"].max()
    d_shares = found["d_slope"][bulk] / found["d_slope"].max()
    report.at_least("Gaussians: critic's smallest slope ÷ largest, ±2σ", 0.25, measured=float(critic_shares.min()))
    report.at_most("Gaussians: D's median slope ÷ largest, ±2σ", 0.01, measured=float(np.median(d_shares)))
    exact_jsd = jensen_shannon_of_densities(*best, breaks=(-MEAN, 0.0, MEAN))
    report.row(gaussians="divergence", jsd=exact_jsd, jsd_share_of_log_2=exact_jsd / LOG2, w1=2 * MEAN)
    return found


def main() -> int:
    """Measure, draw, report; exit status."""
    parser = arguments("divergence", "JSD and Wasserstein-1 of parallel lines and of two Gaussians.")
    parser.add_argument("--pictures", type=Path, default=None, help="folder for the pictures (default: docs/images)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("divergence", options)
    rows = lines(report)
    for row in rows:
        report.row(**row)
    k = judge_lines(report, rows)
    curves = gaussians(report)
    folder = pictures.folder(options)
    if folder is not None:
        pictures.parallel_lines(folder / "divergence-lines.png", rows, k)
        pictures.two_gaussians(folder / "divergence-gaussians.png", curves, MEAN)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
