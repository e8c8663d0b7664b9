"""Recipes of DCGAN, and of the objectives that are compared on its nets: docs/families.md. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import Latent
from trainer.families.dcgan.arch import DcganArch
from trainer.spec import Adam, Data, Ema, Evaluation, JobSpec, Objective, Resources, RMSProp, Schedule, Train
from trainer.spec.sections import Clip, DWarmup, GradientPenalty

MNIST = 50_000
"""Training images of one epoch."""


def dcgan() -> JobSpec:
    """The authors' class-conditional DCGAN on MNIST (Radford et al. 2016); pack the images to data/mnist first."""
    # 100 epochs at the full rate and 100 of linear decay.
    adam = Adam(lr=2e-4, beta1=0.5, weight_decay=2.5e-5, schedule=Schedule(kind="linear", start=0.5))
    return JobSpec(
        name="dcgan",
        arch=DcganArch(resolution=28, channels=1, classes=10, g_width=64, d_width=64),
        data=Data(url="data/mnist"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "D": adam},
        ema=None,
        train=Train(images=200 * MNIST, batch=128),
        evaluation=Evaluation(every_steps=8_000),
    )


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
        evaluation=Evaluation(every_steps=4_000),
    )


def dcgan_unconditional() -> JobSpec:
    """DCGAN on MNIST without labels: what `wgan`, `wgan-gp`, `lsgan`, `hinge` and `r3gan` are compared with."""
    # Widths, kernel, prior and batch are those of WGAN's code, at 28 px. None of these papers averages G's weights.
    adam = Adam(lr=2e-4, beta1=0.5)
    return JobSpec(
        name="dcgan-unconditional",
        arch=DcganArch(resolution=28, channels=1, latent=Latent(dim=100), g_width=64, d_width=64, kernel=4),
        data=Data(url="data/mnist"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "D": adam},
        ema=None,
        train=Train(images=100 * MNIST, batch=64),
        evaluation=Evaluation(every_steps=8_000),
    )


def lsgan() -> JobSpec:
    """Least squares GAN (Mao et al. 2017) on MNIST: `dcgan-unconditional` with the least squares losses."""
    return dcgan_unconditional().replace(name="lsgan", objective=Objective(loss="least-squares"))


def hinge() -> JobSpec:
    """Hinge GAN (Lim & Ye 2017) on MNIST: `dcgan-unconditional` with the hinge losses."""
    return dcgan_unconditional().replace(name="hinge", objective=Objective(loss="hinge"))


def wgan() -> JobSpec:
    """Wasserstein GAN on MNIST, Algorithm 1 of Arjovsky et al. 2017: RMSProp, clipping, the critic first."""
    rmsprop = RMSProp(lr=5e-5)
    return dcgan_unconditional().replace(
        name="wgan",
        objective=Objective(loss="wasserstein", penalties=(Clip(bound=0.01),), d_steps=5, d_warmup=DWarmup()),
        optimizers={"G": rmsprop, "D": rmsprop},
        evaluation=Evaluation(every_steps=1_500),  # five batches a step
    )


def wgan_mlp() -> JobSpec:
    """`wgan` with an MLP of four layers of 512 as generator (Arjovsky et al. 2017, Figure 7)."""
    base = wgan()
    return base.replace(name="wgan-mlp", arch=base.arch.replace(g_kind="mlp", g_width=512))


def wgan_nobn() -> JobSpec:
    """`wgan` with a generator of constant width without batch norm (Arjovsky et al. 2017, Figure 6)."""
    base = wgan()
    return base.replace(name="wgan-nobn", arch=base.arch.replace(g_kind="conv-no-norm", g_width=128))


def wgan_gp() -> JobSpec:
    """Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, Algorithm 1) on MNIST: layer norm in the critic."""
    base = dcgan_unconditional()
    adam = Adam(lr=1e-4, beta1=0.0, beta2=0.9)
    return base.replace(
        name="wgan-gp",
        arch=base.arch.replace(d_norm="layer"),
        objective=Objective(loss="wasserstein", penalties=(GradientPenalty(weight=10.0),), d_steps=5),
        optimizers={"G": adam, "D": adam},
        evaluation=Evaluation(every_steps=1_500),
    )


def dcgan_digits() -> JobSpec:
    """A small class-conditional DCGAN on scikit-learn's digits at 16 px, which `make demo` trains: about two minutes on two CPU workers."""
    # By measurement (benchmarks.demo). Rates of 1e-3 fell apart late; most of the gain comes while the rate falls. Nets of twice the
    # width draw better still, but take the demo beyond its four minutes.
    adam = Adam(lr=5e-4, beta1=0.5, schedule=Schedule(kind="linear", start=0.3))
    return JobSpec(
        name="dcgan-digits",
        arch=DcganArch(resolution=16, channels=1, classes=10, latent=Latent(dim=32), g_width=32, d_width=32, kernel=4),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="non-saturating"),
        optimizers={"G": adam, "D": adam},
        ema=Ema(decay=0.998),
        train=Train(images=96_000, batch=32),
        resources=Resources(workers=2),
    )


def critic_digits() -> JobSpec:
    """`dcgan-digits` with larger batches, for objectives that take five updates of D a step."""
    base = dcgan_digits()
    return base.replace(
        ema=Ema(decay=0.995),
        train=base.train.replace(images=320_000, batch=64),  # five batches a step
    )


def lsgan_digits() -> JobSpec:
    """`dcgan-digits` with the least squares losses (Mao et al. 2017)."""
    return dcgan_digits().replace(name="lsgan-digits", objective=Objective(loss="least-squares"))


def hinge_digits() -> JobSpec:
    """`dcgan-digits` with the hinge losses (Lim & Ye 2017)."""
    return dcgan_digits().replace(name="hinge-digits", objective=Objective(loss="hinge"))


def wgan_digits() -> JobSpec:
    """`dcgan-digits` as a Wasserstein GAN with weight clipping (Arjovsky et al. 2017), at ten times the rate."""
    base = critic_digits()
    rmsprop = RMSProp(lr=5e-4)
    warmup = DWarmup(d_steps=25, steps=10, every=100)
    return base.replace(
        name="wgan-digits",
        objective=Objective(loss="wasserstein", penalties=(Clip(bound=0.01),), d_steps=5, d_warmup=warmup),
        optimizers={"G": rmsprop, "D": rmsprop},
    )


def wgan_gp_digits() -> JobSpec:
    """`dcgan-digits` as a Wasserstein GAN with gradient penalty (Gulrajani et al. 2017): layer norm in D, 5 D steps."""
    base = critic_digits()
    adam = Adam(lr=5e-4, beta1=0.0, beta2=0.9)
    return base.replace(
        name="wgan-gp-digits",
        arch=base.arch.replace(d_norm="layer"),
        objective=Objective(loss="wasserstein", penalties=(GradientPenalty(),), d_steps=5),
        optimizers={"G": adam, "D": adam},
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {
    "dcgan-digits": dcgan_digits,
    "dcgan": dcgan,
    "dcgan-64": dcgan_64,
    "dcgan-unconditional": dcgan_unconditional,
    "lsgan": lsgan,
    "lsgan-digits": lsgan_digits,
    "hinge": hinge,
    "hinge-digits": hinge_digits,
    "wgan": wgan,
    "wgan-mlp": wgan_mlp,
    "wgan-nobn": wgan_nobn,
    "wgan-digits": wgan_digits,
    "wgan-gp": wgan_gp,
    "wgan-gp-digits": wgan_gp_digits,
}
