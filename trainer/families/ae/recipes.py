"""Recipes of the autoencoder. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.ae.arch import AeArch
from trainer.families.arch import Latent
from trainer.spec import Adam, Checkpointing, Data, Ema, Evaluation, JobSpec, Resources, Samples, Schedule, Train


def ae() -> JobSpec:
    """AE(l2) of Donahue et al. 2017's MNIST table with its numbers; pack the images to data/mnist first."""
    # 200 epochs of 60k images at the full rate and 200 of decay in equal ratios, as for their BiGAN.
    schedule = Schedule(kind="geometric", start=0.5, final=0.01)
    adam = Adam(lr=2e-4, beta1=0.5, weight_decay=2.5e-5, schedule=schedule)
    return JobSpec(
        name="ae",
        arch=AeArch(),
        data=Data(url="data/mnist"),
        optimizers={"G": adam, "E": adam},
        ema=None,
        train=Train(images=400 * 60_000, batch=128),
        checkpoint=Checkpointing(every_steps=2_000),
        samples=Samples(every_steps=2_000),
        evaluation=Evaluation(every_steps=20_000, metrics=("reconstruction", "fid", "kid")),
    )


def ae_l1() -> JobSpec:
    """AE(l1) of Donahue et al. 2017's MNIST table: `ae` with the absolute error."""
    base = ae()
    return base.replace(name="ae-l1", arch=base.arch.replace(reconstruction="l1"))


def ae_digits() -> JobSpec:
    """A small autoencoder on scikit-learn's digits at 16 px: sharp reconstructions after a minute on two CPU workers."""
    adam = Adam(lr=1e-3, beta1=0.9)
    return JobSpec(
        name="ae-digits",
        arch=AeArch(resolution=16, latent=Latent(dim=16), g_hidden=256, e_hidden=256),
        data=Data(url="builtin:digits"),
        optimizers={"G": adam, "E": adam},
        ema=Ema(decay=0.995),
        train=Train(images=120_000, batch=64),
        evaluation=Evaluation(metrics=("reconstruction", "fid"), samples=2_000),
        resources=Resources(workers=2),
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {"ae": ae, "ae-l1": ae_l1, "ae-digits": ae_digits}
