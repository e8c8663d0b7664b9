"""Recipes of the variational autoencoder. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import Latent
from trainer.families.vae.arch import VaeArch
from trainer.spec import Adam, Checkpointing, Data, Ema, Evaluation, JobSpec, Resources, Samples, Train


def vae() -> JobSpec:
    """Kingma & Welling 2014's nets on binarised MNIST, with Adam for Adagrad; pack the images to data/mnist first."""
    adam = Adam(lr=1e-3, beta1=0.9)
    return JobSpec(
        name="vae",
        arch=VaeArch(binarise=True),
        data=Data(url="data/mnist", lanes=10),
        optimizers={"G": adam, "E": adam},
        ema=None,
        train=Train(images=200 * 50_000, batch=100),
        checkpoint=Checkpointing(every_steps=2_000),
        samples=Samples(every_steps=2_000),
        evaluation=Evaluation(every_steps=10_000, metrics=("reconstruction", "fid", "kid")),
    )


def vae_digits() -> JobSpec:
    """A small VAE on scikit-learn's digits at 16 px: recognisable samples after a minute on two CPU workers."""
    adam = Adam(lr=1e-3, beta1=0.9)
    return JobSpec(
        name="vae-digits",
        arch=VaeArch(resolution=16, latent=Latent(dim=16), g_hidden=256, e_hidden=256),
        data=Data(url="builtin:digits"),
        optimizers={"G": adam, "E": adam},
        ema=Ema(decay=0.995),
        train=Train(images=160_000, batch=64),
        evaluation=Evaluation(metrics=("reconstruction", "fid"), samples=2_000),
        resources=Resources(workers=2),
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {"vae": vae, "vae-digits": vae_digits}
