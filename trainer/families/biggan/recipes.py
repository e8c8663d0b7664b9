"""Recipes of BigGAN. Torch-free."""

from __future__ import annotations

from collections.abc import Callable

from trainer.families.arch import Latent
from trainer.families.biggan.arch import BigganArch, BigganBase
from trainer.spec import Adam, Checkpointing, Data, Ema, Evaluation, JobSpec, Objective, Resources, Samples, Train
from trainer.spec.sections import Orthogonal
from trainer.spec.sentinel import Sentinel

BATCH = 2048
"""Images of one batch of the paper's large trainings."""
CURVE = (0.2, 0.5, 1.0, 2.0)
"""Thresholds of the truncation curve, which the model card shows."""
EMA_START = 20_000
"""Steps after which the moving average begins there."""


def imagenet(
    arch: BigganBase, *, steps: int, d_steps: int, lr: tuple[float, float], micro: int, **objective: object
) -> JobSpec:
    """What the large trainings share. lr: G's and D's. micro: images a GPU holds at once."""
    g, d = (Adam(lr=rate, beta1=0.0, beta2=0.999, eps=1e-6) for rate in lr)
    shown = BATCH * d_steps
    return JobSpec(
        name=f"{arch.family}-imagenet{arch.resolution}",
        arch=arch,
        data=Data(url=f"data/imagenet{arch.resolution}", lanes=512, decode_threads=4, held_out=2000),
        objective=Objective.model_validate({"loss": "hinge", "d_steps": d_steps, **objective}),
        optimizers={"G": g, "D": d},
        ema=Ema(decay=0.9999, start_images=EMA_START * shown),
        train=Train(images=steps * shown, batch=BATCH, micro_batch=micro, precision="bf16", channels_last=True),
        checkpoint=Checkpointing(every_steps=1000, keep_last=2),
        samples=Samples(every_steps=1000),
        evaluation=Evaluation(every_steps=5000, samples=50_000, standing_batches=16, truncations=(0.1, *CURVE)),
        sentinel=Sentinel(policy="rollback"),
        resources=Resources(workers=8, cpus_per_worker=8.0, gpus_per_worker=1),
    )


def biggan_imagenet128() -> JobSpec:
    """BigGAN (Brock et al. 2018) on ImageNet at 128 px, rates of the authors' PyTorch code; pack data/imagenet128 first."""
    arch = BigganArch(resolution=128, classes=1000, attention=64)
    return imagenet(arch, steps=150_000, d_steps=1, lr=(1e-4, 4e-4), micro=64, penalties=(Orthogonal(),))


def biggan_imagenet256() -> JobSpec:
    """BigGAN (Brock et al. 2018) on ImageNet at 256 px with the paper's rates; pack data/imagenet256 first."""
    arch = BigganArch(resolution=256, classes=1000, attention=64, latent=Latent(dim=140))
    return imagenet(arch, steps=140_000, d_steps=2, lr=(5e-5, 2e-4), micro=32, penalties=(Orthogonal(),))


def biggan_imagenet512() -> JobSpec:
    """BigGAN (Brock et al. 2018) on ImageNet at 512 px with the paper's rates; pack data/imagenet512 first."""
    arch = BigganArch(resolution=512, classes=1000, attention=64, latent=Latent(dim=160))
    return imagenet(arch, steps=140_000, d_steps=2, lr=(5e-5, 2e-4), micro=8, penalties=(Orthogonal(),))


def biggan_cifar10() -> JobSpec:
    """The authors' BigGAN for CIFAR-10: no shared embedding, no skip-z, 4 D steps; pack the images to data/cifar10 first."""
    adam = Adam(lr=2e-4, beta1=0.0, beta2=0.999)
    return JobSpec(
        name="biggan-cifar10",
        arch=BigganArch(
            resolution=32,
            classes=10,
            latent=Latent(dim=128),
            g_width=64,
            d_width=64,
            shared_embedding=False,
            skip_z=False,
            init="normal",
        ),
        data=Data(url="data/cifar10", lanes=10),
        objective=Objective(loss="hinge", d_steps=4),
        optimizers={"G": adam, "D": adam},
        ema=Ema(decay=0.9999, start_images=1000 * 4 * 50),
        train=Train(images=500 * 50_000, batch=50),
        checkpoint=Checkpointing(every_steps=1000),
        samples=Samples(every_steps=1000),
        evaluation=Evaluation(every_steps=5000, standing_batches=16, truncations=CURVE),
    )


def biggan_mnist() -> JobSpec:
    """A narrow BigGAN with attention on MNIST, for a CPU; pack the images to data/mnist first."""
    g, d = (Adam(lr=lr, beta1=0.0, beta2=0.999, eps=1e-6) for lr in (2e-4, 4e-4))
    return JobSpec(
        name="biggan-mnist",
        arch=BigganArch(
            resolution=28,
            channels=1,
            classes=10,
            latent=Latent(dim=60),
            g_width=8,
            d_width=8,
            attention=14,
            shared_dim=32,
        ),
        data=Data(url="data/mnist"),
        objective=Objective(loss="hinge", penalties=(Orthogonal(),)),
        optimizers={"G": g, "D": d},
        ema=Ema(decay=0.999, start_images=100_000),
        train=Train(images=20 * 50_000, batch=64, channels_last=True),
        checkpoint=Checkpointing(every_steps=1000),
        samples=Samples(every_steps=1000),
        evaluation=Evaluation(every_steps=4000, standing_batches=16, truncations=CURVE),
        resources=Resources(workers=2),
    )


def biggan_digits() -> JobSpec:
    """A small BigGAN on scikit-learn's digits at 16 px."""
    g, d = (Adam(lr=lr, beta1=0.0, beta2=0.999, eps=1e-6) for lr in (1e-3, 2e-3))
    return JobSpec(
        name="biggan-digits",
        arch=BigganArch(
            resolution=16, channels=1, classes=10, latent=Latent(dim=24), g_width=8, d_width=8, shared_dim=16
        ),
        data=Data(url="builtin:digits"),
        objective=Objective(loss="hinge", penalties=(Orthogonal(),)),
        optimizers={"G": g, "D": d},
        ema=Ema(decay=0.99),
        train=Train(images=64_000, batch=32),
        resources=Resources(workers=2),
    )


RECIPES: dict[str, Callable[[], JobSpec]] = {
    "biggan-digits": biggan_digits,
    "biggan-mnist": biggan_mnist,
    "biggan-cifar10": biggan_cifar10,
    "biggan-imagenet128": biggan_imagenet128,
    "biggan-imagenet256": biggan_imagenet256,
    "biggan-imagenet512": biggan_imagenet512,
}
