"""Recipes of DCGAN. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import Latent
from trainer.families.dcgan.arch import DcganArch
from trainer.spec import Adam, Data, Ema, JobSpec, Objective, Resources, Schedule, Train
from trainer.spec.sections import GradientPenalty


def dcgan_64() -> JobSpec:
    """Radford et al. 2016 at 64 px RGB with the paper's widths; pack the images to data/images64 first."""
    adam = Adam(lr=2e-4, beta1=0.5)
    return JobSpec(
        name="dcgan-64",
        arch=DcganArch(resolution=64, channels=3, g_width=128, d_width=128),
        data=Data(url="data/images64"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "D": adam},
        train=Train(images=5_000_000, batch=128),
    )


def dcgan_mnist() -> JobSpec:
    """The authors' class-conditional DCGAN on MNIST at 28 px; pack the images to data/mnist first."""
    # 100 epochs of 50k images at the full rate and 100 of linear decay.
    adam = Adam(lr=2e-4, beta1=0.5, weight_decay=2.5e-5, schedule=Schedule(kind="linear", start=0.5))
    return JobSpec(
        name="dcgan-mnist",
        arch=DcganArch(resolution=28, channels=1, classes=10, g_width=64, d_width=64),
        data=Data(url="data/mnist"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "D": adam},
        ema=None,
        train=Train(images=200 * 50_000, batch=128),
    )


def dcgan_digits() -> JobSpec:
    """A small class-conditional DCGAN on scikit-learn's digits at 16 px: recognisable after two or three minutes on two CPU workers."""
    adam = Adam(lr=5e-4, beta1=0.5, schedule=Schedule(kind="linear", start=0.5))
    return JobSpec(
        name="dcgan-digits",
        arch=DcganArch(resolution=16, channels=1, classes=10, latent=Latent(dim=32), g_width=32, d_width=32, kernel=4),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "D": adam},
        ema=Ema(decay=0.995),
        train=Train(images=72_000, batch=64),
        resources=Resources(workers=2),
    )


def wgan_gp_digits() -> JobSpec:
    """`dcgan-digits` as a Wasserstein GAN with gradient penalty (Gulrajani et al. 2017): layer norm in D, 5 D steps."""
    base = dcgan_digits()
    adam = Adam(lr=5e-4, beta1=0.0, beta2=0.9)
    return base.replace(
        name="wgan-gp-digits",
        arch=base.arch.replace(d_norm="layer"),
        objective=Objective(loss="wasserstein", penalties=(GradientPenalty(),), d_steps=5),
        optimizers={"G": adam, "D": adam},
        train=base.train.replace(images=320_000),  # five batches a step
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {
    "dcgan-digits": dcgan_digits,
    "dcgan-mnist": dcgan_mnist,
    "dcgan-64": dcgan_64,
    "wgan-gp-digits": wgan_gp_digits,
}
