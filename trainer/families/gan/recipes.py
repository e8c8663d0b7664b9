"""Recipes of the MLP GAN. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.gan.arch import GanArch
from trainer.spec import Adam, Data, Ema, JobSpec, Objective, Schedule, Sgd, Train


def gan_mnist() -> JobSpec:
    """Goodfellow et al. 2014 on MNIST with the paper's numbers; pack the images to data/mnist first."""
    # 50k images, 250 epochs: the span over which the authors raise the momentum.
    schedule = Schedule(kind="exponential", decay=1 / 1.000004, final=1e-5)
    g = Sgd(lr=0.1, momentum=0.5, final_momentum=0.7, schedule=schedule)
    d = g.replace(lr=0.05)  # the authors' code halves D's loss
    return JobSpec(
        name="gan-mnist",
        arch=GanArch(),
        data=Data(url="data/mnist", lanes=10),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": g, "D": d},
        ema=None,
        train=Train(images=250 * 50_000, batch=100),
    )


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


RECIPES: dict[str, Callable[[], JobSpec]] = {"gan-mnist": gan_mnist, "gan-digits": gan_digits}
