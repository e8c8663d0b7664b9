"""Recipes of R3GAN. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import Latent
from trainer.families.r3gan.arch import R3ganArch
from trainer.spec import Adam, Data, Ema, Evaluation, JobSpec, Objective, Resources, Schedule, Train
from trainer.spec.sections import R1, R2


def r3gan() -> JobSpec:
    """R3GAN (Huang et al. 2024) on MNIST with narrow nets, unconditional; compare with `dcgan-unconditional`."""
    adam = Adam(lr=2e-4, beta1=0.0, beta2=0.99, schedule=Schedule(kind="linear", final=0.25))
    return JobSpec(
        name="r3gan",
        arch=R3ganArch(resolution=28, channels=1, g_width=16, d_width=16, blocks=1),
        data=Data(url="data/mnist"),
        objective=Objective(loss="relativistic", penalties=(R1(weight=1.0), R2(weight=1.0))),
        optimizers={"G": adam, "D": adam},
        ema=Ema(decay=0.999),
        train=Train(images=100 * 50_000, batch=64),
        evaluation=Evaluation(every_steps=8_000),
    )


def r3gan_digits() -> JobSpec:
    """A small class-conditional R3GAN on scikit-learn's digits at 16 px."""
    adam = Adam(lr=1e-3, beta1=0.0, beta2=0.99, schedule=Schedule(kind="linear", final=0.25))
    return JobSpec(
        name="r3gan-digits",
        arch=R3ganArch(resolution=16, channels=1, classes=10, latent=Latent(dim=32), g_width=16, d_width=16, blocks=1),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="relativistic", penalties=(R1(weight=1.0), R2(weight=1.0))),
        optimizers={"G": adam, "D": adam},
        ema=Ema(decay=0.995),
        train=Train(images=72_000, batch=64),
        resources=Resources(workers=2),
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {"r3gan-digits": r3gan_digits, "r3gan": r3gan}
