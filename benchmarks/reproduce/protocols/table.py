"""Recipe → the paper it follows, how long the paper trains, and what it is measured by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from benchmarks.reproduce.images import CIFAR10, MNIST, ImageSet
from benchmarks.reproduce.protocols.autoencoding import likelihood_bounds, reconstruction_error
from benchmarks.reproduce.protocols.classes import asked_labels, generated_neighbours
from benchmarks.reproduce.protocols.coding import code_matching, information
from benchmarks.reproduce.protocols.density import best_by_validation, parzen_likelihood
from benchmarks.reproduce.protocols.features import discriminator_neighbours, discriminator_svm, encoder_neighbours
from benchmarks.reproduce.protocols.quality import critic_follows_quality, frechet, gradient_norm
from benchmarks.reproduce.protocols.truncation import truncation

Measure = Callable[[Case], Iterator[Figure]]


@dataclass(frozen=True)
class Protocol:
    """What one reproduction is.

    recipe: what is trained, where the reproduction has a name of its own; two of one recipe are compared. data: the images
    it is trained on. epochs, epoch: length of the paper's training, and the images of one epoch; 0 where the paper names
    none. overrides: what the reproduction changes about the recipe. evaluations: how often the platform scores the
    generator on the way. states: checkpoints, evenly spaced over the training, that are kept for the measures to choose from.
    codes: whether the measures read a categorical code. note: what a reader has to know about the figures.
    """

    paper: str
    measures: tuple[Measure, ...]
    recipe: str = ""
    data: ImageSet = MNIST
    epochs: int = 0
    epoch: int = 50_000
    overrides: tuple[str, ...] = ()
    evaluations: int = 1
    states: int = 1
    codes: bool = False
    note: str = ""

    def trains(self, name: str) -> str:
        """The recipe that the protocol of this name trains."""
        return self.recipe or name

    @property
    def images(self) -> int | None:
        """Real images that the paper's training shows; None where it names no length."""
        return self.epochs * self.epoch or None


GAN, MIRZA = "Goodfellow et al. 2014", "Mirza & Osindero 2014"
RADFORD, DONAHUE, CHEN = "Radford et al. 2016", "Donahue et al. 2017", "Chen et al. 2016"
BROCK = "Brock et al. 2019"
WEAK = "Parzen windows are a weak measure: k-means centroids beat true images (Theis et al. 2016)"
GOODFELLOW = Protocol(GAN, (parzen_likelihood("225 ± 2", 225.0), frechet), epochs=250, note=WEAK)
ONE_CORE = ("resources.workers=1", "evaluation.every_steps=null")
"""One worker, and evaluations as often as the protocol says."""
NARROW = (
    "arch.g_width=16", "arch.d_width=16", "train.channels_last=true", "ema.decay=0.999", "ema.start_images=100000",
)  # fmt: skip
"""A quarter of the channels, for a CPU, and a moving average for a training that is as much shorter."""
COMPARED = (frechet,)
"""What the objectives on DCGAN's nets are compared by."""

PROTOCOLS: dict[str, Protocol] = {
    "gan": GOODFELLOW,
    "gan-minimax": GOODFELLOW,
    "cgan": Protocol(
        MIRZA, (best_by_validation(parzen_likelihood("132 ± 1.8", 132.0), asked_labels(95.0)), frechet),
        states=25, note=WEAK,
    ),
    "dcgan": Protocol(
        RADFORD,
        (generated_neighbours("2.98 %", 2.98), asked_labels(95.0), discriminator_svm, frechet),
        epochs=200, evaluations=10,
    ),
    "bigan": Protocol(DONAHUE, (encoder_neighbours("97.39 %", 97.39), frechet), epochs=400),
    "bigan-lr": Protocol(
        DONAHUE, (encoder_neighbours("97.44 %", None), discriminator_neighbours, frechet), epochs=400,
        note="the paper's latent regressor",
    ),
    "bigan-joint-lr": Protocol(
        DONAHUE, (encoder_neighbours("97.13 %", None), frechet), epochs=400, note="the paper's joint latent regressor"
    ),
    "ae": Protocol(DONAHUE, (encoder_neighbours("97.58 %", None), reconstruction_error), epochs=400, epoch=60_000),
    "ae-l1": Protocol(DONAHUE, (encoder_neighbours("97.63 %", None), reconstruction_error), epochs=400, epoch=60_000),
    "infogan": Protocol(CHEN, (code_matching(5.0), information, frechet), codes=True),
    "infogan-gan": Protocol(
        CHEN, (information, code_matching(None), frechet), codes=True, note="a plain GAN whose Q only reads"
    ),
    "vae": Protocol("Kingma & Welling 2014", (likelihood_bounds, reconstruction_error, frechet)),
    "dcgan-unconditional": Protocol(RADFORD, COMPARED, evaluations=10),
    "lsgan": Protocol("Mao et al. 2017", COMPARED, evaluations=10),
    "hinge": Protocol("Lim & Ye 2017", COMPARED, evaluations=10),
    "wgan": Protocol("Arjovsky et al. 2017", (critic_follows_quality, frechet), evaluations=12),
    "wgan-mlp": Protocol("Arjovsky et al. 2017", (critic_follows_quality, frechet), evaluations=12),
    "wgan-nobn": Protocol("Arjovsky et al. 2017", (critic_follows_quality, frechet), evaluations=12),
    "wgan-gp": Protocol("Gulrajani et al. 2017", (gradient_norm, critic_follows_quality, frechet), evaluations=12),
    "r3gan": Protocol(
        "Huang et al. 2024", COMPARED, evaluations=10,
        note="scored with its moving average, as its paper does, the others without; trunks of 16 channels, the paper's have 768",
    ),
    "biggan-mnist": Protocol(BROCK, (asked_labels(97.0), frechet, truncation), overrides=ONE_CORE, evaluations=8),
    "biggan-mnist-free": Protocol(
        BROCK, (asked_labels(97.0), frechet, truncation), recipe="biggan-mnist", overrides=(*ONE_CORE, "objective.penalties=[]"),
        evaluations=8, note="without orthogonal regularisation",
    ),
    "biggan-cifar10": Protocol(
        BROCK, (frechet, asked_labels(None), truncation), data=CIFAR10, overrides=(*ONE_CORE, *NARROW), evaluations=8,
        note="G and D of 16 channels, the authors' have 64; every image seen by D counts, and it takes 4 steps for each of G's",
    ),
}  # fmt: skip
