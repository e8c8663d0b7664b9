"""Which modes of a mixture of 8 and of 25 Gaussians do a GAN, a clipped WGAN and a WGAN with gradient penalty cover?

    python -m benchmarks.gaussians [--quick] [--only wgan …] [--seeds 0 1 2] [--jobs N] [--pictures DIR]

All train the same MLPs on points of the plane by the product's phases. The clipped WGAN is Algorithm 1 of Arjovsky et al.
2017: RMSProp, clipping after each of the critic's updates, n_critic 5, and the critic first (100 updates in each of the
first 25 steps and in every 500th, as in the authors' code). `wgan-paper` has
the paper's α = 5e-5 and c = 0.01, which are for images; those of `wgan` were found for these points.

A mode is covered if at least half of its fair share of all samples lies within 3σ of it; points spread evenly over the
square of the 25 would give each mode 28 % of its share, so that is no coverage. Precision is the share of all samples within
3σ of some mode. `touched` counts modes with at least one such sample of 2500, the milder criterion of Srivastava et al. 2017.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import pictures
from benchmarks.common import Report, arguments
from trainer.evaluate.divergences import wasserstein
from trainer.evaluate.points import PointMlp, PointTrainer, Sampler, point_spec
from trainer.spec import Adam, Objective, RMSProp, Schedule
from trainer.spec.sections import Clip, DWarmup, GradientPenalty

SAMPLES = 10_000
LATENT = 2


@dataclass(frozen=True)
class Mixture:
    """Equally likely Gaussians with one σ. centres: [modes, 2]."""

    centres: Tensor
    sigma: float

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """n points, [n, 2, 1, 1]."""
        which = torch.randint(len(self.centres), (n,), generator=generator)
        return (self.centres[which] + self.sigma * torch.randn(n, 2, generator=generator))[:, :, None, None]

    def coverage(self, points_N2: Tensor) -> dict[str, float | int]:
        """modes, covered, touched and precision, as the module's docstring defines them."""
        distance, nearest = torch.cdist(points_N2, self.centres).min(dim=1)
        good, modes = distance <= 3 * self.sigma, len(self.centres)
        counts = torch.bincount(nearest[good], minlength=modes)
        few = torch.bincount(nearest[:2500][good[:2500]], minlength=modes)
        return {
            "modes": modes,
            "covered": int((counts >= 0.5 * len(points_N2) / modes).sum()),
            "touched": int((few > 0).sum()),
            "precision": good.double().mean().item(),
        }


def mixtures() -> dict[str, Mixture]:
    """8 on a circle of radius 1, and 25 on a grid over [−1, 1]² with a spacing of 10σ; σ = 0.05."""
    angles = torch.arange(8) * (2 * math.pi / 8)
    steps = torch.arange(-2, 3) / 2
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    return {"8": Mixture(circle, 0.05), "25": Mixture(torch.cartesian_prod(steps, steps), 0.05)}


@dataclass(frozen=True)
class Method:
    """An objective with its optimiser, and how long it trains: `steps` of G, equal for all that are compared."""

    objective: Objective
    optimizer: Adam | RMSProp
    steps: int
    g_hidden: tuple[int, ...] = (128, 128, 128)
    d_hidden: tuple[int, ...] = (256, 256)
    batch: int = 256

    def describe(self) -> str:
        """Its numbers in a line."""
        optimizer = self.optimizer.model_dump(exclude_defaults=True) | {"lr": self.optimizer.lr}
        objective = self.objective.model_dump(mode="json", exclude_none=True)
        return f"{objective}, {self.optimizer.kind} {optimizer}, hidden {self.g_hidden} and {self.d_hidden}, batch {self.batch}, {self.steps} steps"


FALLING = Schedule(kind="linear", start=0.5)
STEPS = 4000


def wasserstein_gan(lr: float, bound: float, schedule: Schedule) -> Method:
    """Algorithm 1 with this α and c."""
    objective = Objective(loss="wasserstein", penalties=(Clip(bound=bound),), d_steps=5, d_warmup=DWarmup())
    return Method(objective, RMSProp(lr=lr, schedule=schedule), STEPS)


METHODS: Mapping[str, Method] = {
    "gan": Method(Objective(loss="non-saturating"), Adam(lr=5e-4, beta1=0.5, schedule=FALLING), STEPS),
    "wgan": wasserstein_gan(5e-4, 0.2, FALLING),
    "wgan-gp": Method(
        Objective(loss="wasserstein", penalties=(GradientPenalty(weight=0.1),), d_steps=5),
        Adam(lr=1e-3, beta1=0.5, beta2=0.9, schedule=FALLING),
        STEPS,
    ),
    "wgan-paper": wasserstein_gan(5e-5, 0.01, Schedule()),
}
"""What is compared, with the same nets, batches and updates of G."""


def latents(n: int, generator: torch.Generator) -> Tensor:
    """z ~ N(0, I)."""
    return torch.randn(n, LATENT, generator=generator)


def train(method: Method, real: Sampler, seed: int, steps: int) -> tuple[nn.Module, PointTrainer]:
    """G after `steps` steps."""
    both = {"G": method.optimizer, "D": method.optimizer}
    spec = point_spec(method.objective, both, batch=method.batch, steps=steps, seed=seed)
    torch.manual_seed(seed)
    nets = {
        "G": PointMlp([LATENT, *method.g_hidden, 2], as_points=True),
        "D": PointMlp([2, *method.d_hidden, 1], as_points=False),
    }
    trainer = PointTrainer(spec, nets, real, latents)
    for _ in range(steps):
        trainer.step()
    return nets["G"], trainer


def measure(name: str, kind: str, seed: int, quick: bool) -> tuple[dict[str, Any], Tensor]:
    """One training: its row, and G's samples [N, 2]."""
    method, mixture = METHODS[name], mixtures()[kind]
    begun = time.process_time()
    g, trainer = train(method, mixture.draw, seed, 1 if quick else method.steps)
    seconds = time.process_time() - begun
    with torch.no_grad():
        points: Tensor = g(latents(SAMPLES, torch.Generator().manual_seed(10_000 + seed))).flatten(1)
    truth = mixture.draw(500, torch.Generator().manual_seed(20_000 + seed)).flatten(1)
    row = {
        "method": name,
        "gaussians": int(kind),
        "run": seed,
        **mixture.coverage(points),
        "w1_to_data": wasserstein(points[:500].numpy(), truth.numpy()),
        "g_updates": trainer.updates["G"],
        "d_updates": trainer.updates["D"],
        "cpu_seconds": seconds,
    }
    return row, points


def one(task: tuple[str, str, int, bool]) -> tuple[dict[str, Any], Tensor]:
    """`measure` on one thread."""
    torch.set_num_threads(1)
    return measure(*task)


def results(tasks: list[tuple[str, str, int, bool]], jobs: int) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Every task's result, in order; `jobs` processes at once."""
    if jobs == 1:
        yield from map(one, tasks)
        return
    # Fresh interpreters: torch's threads don't survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, tasks)


def judge(report: Report, rows: list[dict[str, Any]]) -> None:
    """Targets: the WGAN covers every mode in every run, by either criterion. The others are reported beside it."""
    for kind, mixture in mixtures().items():
        runs = [row for row in rows if row["method"] == "wgan" and row["gaussians"] == int(kind)]
        for criterion in ("covered", "touched") if runs else ():
            name = f"WGAN: modes {criterion} of {kind} Gaussians, fewest of {len(runs)} run(s)"
            report.at_least(name, len(mixture.centres), measured=min(row[criterion] for row in runs), unit="modes")


def main() -> int:
    """Train, measure, draw, report; exit status."""
    parser = arguments("gaussians", "Modes of 8 and 25 Gaussians that each objective covers.")
    parser.add_argument("--only", nargs="+", choices=sorted(METHODS), default=list(METHODS), help="methods to run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="runs of each (default: 0 1 2)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, one thread each (default: 1)")
    parser.add_argument("--pictures", type=Path, default=None, help="folder for the picture (default: docs/images)")
    options = parser.parse_args()
    report = Report("gaussians", options)
    seeds = options.seeds[:1] if options.quick else options.seeds
    tasks = [(name, kind, seed, options.quick) for seed in seeds for kind in mixtures() for name in options.only]
    clouds: dict[tuple[str, str], Tensor] = {}
    rows: list[dict[str, Any]] = []
    for (name, kind, seed, _), (row, points) in zip(tasks, results(tasks, options.jobs), strict=True):
        rows.append(row)
        report.row(**row)
        print(row, flush=True)
        if seed == seeds[0]:
            clouds[name, kind] = points
    judge(report, rows)
    for name in options.only:
        report.note(f"{name}: {METHODS[name].describe()}")
    folder = pictures.folder(options)
    if folder is not None:
        panels = {key: points.numpy() for key, points in clouds.items()}
        centres = {kind: mixture.centres.numpy() for kind, mixture in mixtures().items()}
        pictures.mixtures(
            folder / "gaussians.png", panels, centres, {(r["method"], str(r["gaussians"])): r for r in reversed(rows)}
        )
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
