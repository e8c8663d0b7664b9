"""Recipes of BigGAN-deep. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import Latent
from trainer.families.biggan.recipes import imagenet
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.spec import Adam, Data, Ema, JobSpec, Objective, Resources, Train


def biggan_deep_imagenet128() -> JobSpec:
    """BigGAN-deep (Brock et al. 2018) on ImageNet at 128 px, rates of the authors' PyTorch code; pack data/imagenet128 first."""
    arch = BigganDeepArch(resolution=128, classes=1000, attention=64)
    return imagenet(arch, steps=150_000, d_steps=1, lr=(1e-4, 4e-4), micro=64)


def biggan_deep_digits() -> JobSpec:
    """A small BigGAN-deep on scikit-learn's digits at 16 px."""
    g, d = (Adam(lr=lr, beta1=0.0, beta2=0.999, eps=1e-6) for lr in (1e-3, 2e-3))
    return JobSpec(
        name="biggan-deep-digits",
        arch=BigganDeepArch(
            resolution=16,
            channels=1,
            classes=10,
            latent=Latent(dim=24),
            g_width=16,
            d_width=16,
            shared_dim=16,
            blocks=1,
        ),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="hinge"),
        optimizers={"G": g, "D": d},
        ema=Ema(decay=0.99),
        train=Train(images=64_000, batch=32),
        resources=Resources(workers=2),
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {
    "biggan-deep-digits": biggan_deep_digits,
    "biggan-deep-imagenet128": biggan_deep_imagenet128,
}
