"""Recipes of InfoGAN. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import CodedLatent
from trainer.families.infogan.arch import InfoganArch
from trainer.spec import Adam, Checkpointing, Data, Ema, Evaluation, JobSpec, Objective, Resources, Samples, Train


def infogan() -> JobSpec:
    """Chen et al. 2016 on MNIST with the paper's numbers; pack the images to data/mnist first."""
    d = Adam(lr=2e-4, beta1=0.5)
    return JobSpec(
        name="infogan",
        arch=InfoganArch(),
        data=Data(url="data/mnist"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": Adam(lr=1e-3, beta1=0.5), "D": d, "Q": d},
        ema=None,
        train=Train(images=5_000 * 128, batch=128),
        checkpoint=Checkpointing(every_steps=250),
        samples=Samples(every_steps=250, count=100),
        evaluation=Evaluation(every_steps=500),
    )


def infogan_gan() -> JobSpec:
    """`infogan` as a plain GAN whose Q only reads: the paper's Fig. 1, where the bound L_I stays low."""
    base = infogan()
    return base.replace(name="infogan-gan", arch=base.arch.replace(maximise_information=False))


def infogan_digits() -> JobSpec:
    """A small InfoGAN on scikit-learn's digits at 16 px: codes sort digits after a minute or two on two CPU workers."""
    d = Adam(lr=2e-4, beta1=0.5)
    latent = CodedLatent(dim=22, distribution="uniform")
    return JobSpec(
        name="infogan-digits",
        arch=InfoganArch(resolution=16, latent=latent, g_width=32, d_width=32, g_hidden=256, d_hidden=256),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": Adam(lr=1e-3, beta1=0.5), "D": d, "Q": d},
        ema=Ema(decay=0.995),
        train=Train(images=160_000, batch=64),
        samples=Samples(count=100),
        evaluation=Evaluation(samples=2_000),
        resources=Resources(workers=2),
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {
    "infogan": infogan,
    "infogan-gan": infogan_gan,
    "infogan-digits": infogan_digits,
}
