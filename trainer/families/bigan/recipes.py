"""Recipes of BiGAN and of its paper's latent regressors. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import Latent
from trainer.families.bigan.arch import BiganArch
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
    Train,
)

EPOCH = 50_000
"""The images of MNIST that the authors' script trains on."""
L2 = 2.5e-5


def bigan() -> JobSpec:
    """Donahue et al. 2017 on permutation-invariant MNIST with the paper's numbers; pack the images to data/mnist first."""
    # 200 epochs at the full rate and 200 of exponential decay to a hundredth. The authors halve these losses: Adam does
    # not notice, but the L2 penalty beside them weighs double.
    schedule = Schedule(kind="geometric", start=0.5, final=0.01)
    adam = Adam(lr=2e-4, beta1=0.5, weight_decay=2 * L2, schedule=schedule)
    return JobSpec(
        name="bigan",
        arch=BiganArch(),
        data=Data(url="data/mnist"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "E": adam, "D": adam},
        ema=None,
        train=Train(images=400 * EPOCH, batch=128, log_steps=100),
        checkpoint=Checkpointing(every_steps=2000),
        samples=Samples(every_steps=2000, count=100),
        evaluation=Evaluation(every_steps=16_000, metrics=("fid", "kid", "reconstruction")),
    )


def bigan_lr() -> JobSpec:
    """BiGAN's baseline "latent regressor": a GAN, and an E that learns z from G(z) beside it."""
    base = bigan()
    whole = {name: adam.replace(weight_decay=L2) for name, adam in base.optimizers.items() if name != "D"}
    return base.replace(
        name="bigan-lr",
        arch=base.arch.replace(encoder_training="latent-regressor"),
        optimizers={**base.optimizers, **whole},  # only D's loss is halved here
    )


def bigan_joint_lr() -> JobSpec:
    """BiGAN's baseline "joint latent regressor": G is trained for an E that can tell z as well."""
    base = bigan_lr()
    return base.replace(name="bigan-joint-lr", arch=base.arch.replace(encoder_training="joint-latent-regressor"))


def bigan_digits() -> JobSpec:
    """A small BiGAN on scikit-learn's digits at 16 px: two or three minutes on two CPU workers."""
    adam = Adam(lr=1e-3, beta1=0.5, schedule=Schedule(kind="geometric", start=0.5, final=0.05))
    return JobSpec(
        name="bigan-digits",
        arch=BiganArch(
            resolution=16, latent=Latent(dim=8, distribution="uniform"), g_hidden=256, e_hidden=256, d_hidden=256
        ),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "E": adam, "D": adam},
        ema=Ema(decay=0.98),  # a longer average of E no longer fits one of G: the codes move
        train=Train(images=150_000, batch=64),
        evaluation=Evaluation(metrics=("fid", "kid", "reconstruction")),
        resources=Resources(workers=2),
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {
    "bigan": bigan,
    "bigan-lr": bigan_lr,
    "bigan-joint-lr": bigan_joint_lr,
    "bigan-digits": bigan_digits,
}
