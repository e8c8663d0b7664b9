"""Recipes of the MLP GAN. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.gan.arch import GanArch
from trainer.spec import Adam, Checkpointing, Data, Ema, Evaluation, JobSpec, Objective, Samples, Schedule, Sgd, Train

EPOCH = 50_000
"""The images of MNIST that the authors train on; the other 10,000 of the training set choose Parzen's σ."""


def gan() -> JobSpec:
    """Goodfellow et al. 2014 on MNIST with the authors' numbers; pack the images to data/mnist first."""
    # The authors start from the mean image; here D then wins for good within 130,000 images (docs/families.md).
    schedule = Schedule(kind="exponential", decay=1 / 1.000004, final=1e-5)
    g = Sgd(lr=0.1, momentum=0.5, final_momentum=0.7, momentum_images=250 * EPOCH, schedule=schedule)
    d = g.replace(lr=0.05)  # the authors' code halves D's loss
    return JobSpec(
        name="gan",
        arch=GanArch(mean_start=False),
        data=Data(url="data/mnist", lanes=10),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": g, "D": d},
        ema=None,
        train=Train(images=250 * EPOCH, batch=100, log_steps=100),
        checkpoint=Checkpointing(every_steps=2500),
        samples=Samples(every_steps=2500, count=100),
        evaluation=Evaluation(every_steps=12_500),
    )


def gan_minimax() -> JobSpec:
    """`gan` with the minimax game itself, Eq. 1: G's loss saturates where D is sure."""
    return gan().replace(name="gan-minimax", objective=Objective(loss="minimax"))


def gan_digits() -> JobSpec:
    """The MLP GAN on scikit-learn's digits at 16 px, class-conditional: a minute on two CPU cores."""
    adam = Adam(lr=5e-4, beta1=0.5)
    return JobSpec(
        name="gan-digits",
        arch=GanArch(resolution=16, classes=10, g_hidden=256, d_hidden=128),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "D": adam},
        ema=Ema(decay=0.995),
        train=Train(images=200_000, batch=64),
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {"gan": gan, "gan-minimax": gan_minimax, "gan-digits": gan_digits}
