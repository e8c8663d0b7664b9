"""Recipes of the conditional GAN. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import Latent
from trainer.families.cgan.arch import CganArch
from trainer.spec import (
    Adam,
    Checkpointing,
    Data,
    Ema,
    Evaluation,
    JobSpec,
    Objective,
    Resources,
    Samples,
    Schedule,
    Sgd,
    Train,
)

EPOCH = 50_000
"""The images of MNIST trained on. The other 10,000 of the training set are for validation: training goes on to its set
length, and its reproduction measures the kept state that does best on them."""


def cgan() -> JobSpec:
    """Mirza & Osindero 2014 on MNIST with the paper's numbers; pack the images to data/mnist first."""
    # 1.00004 as the paper prints it. The code of the GAN that it builds on has 1.000004, so that may be a misprint; but
    # no code of this paper says so. The paper gives no length: that of its predecessor's momentum is taken.
    schedule = Schedule(kind="exponential", decay=1 / 1.00004, final=1e-5)
    sgd = Sgd(lr=0.1, momentum=0.5, final_momentum=0.7, momentum_images=250 * EPOCH, schedule=schedule)
    return JobSpec(
        name="cgan",
        arch=CganArch(),
        data=Data(url="data/mnist", lanes=10),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": sgd, "D": sgd},
        ema=None,
        train=Train(images=250 * EPOCH, batch=100, log_steps=100),
        checkpoint=Checkpointing(every_steps=2500),
        samples=Samples(every_steps=2500, count=100),
        evaluation=Evaluation(every_steps=12_500),
    )


def cgan_digits() -> JobSpec:
    """The conditional GAN on scikit-learn's digits at 16 px, with a normal prior: a minute or two on two CPU workers."""
    # The paper's prior has a variance of 1/12, which small nets barely hear. Labels are obeyed after 1500 to 2500 steps,
    # once the images look like digits.
    adam = Adam(lr=1e-3, beta1=0.5)
    return JobSpec(
        name="cgan-digits",
        arch=CganArch(
            resolution=16, latent=Latent(dim=16), g_z_hidden=64, g_y_hidden=128, g_hidden=192, g_dropout=0.0,
            d_x_hidden=96, d_y_hidden=32, d_hidden=96, d_dropout=0.2,
        ),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "D": adam},
        ema=Ema(decay=0.99),
        train=Train(images=256_000, batch=64),
        resources=Resources(workers=2),
    )  # fmt: skip


RECIPES: dict[str, Callable[[], JobSpec]] = {"cgan": cgan, "cgan-digits": cgan_digits}
