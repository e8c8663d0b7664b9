"""What InfoGAN, the autoencoder and the VAE learn, on real digits in seconds: not merely that they run."""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest
from learning import Learned, learn

from trainer.families.table import recipes
from trainer.spec import with_overrides

CHANGES = {
    "infogan": [
        "arch.resolution=8", "arch.g_hidden=64", "arch.d_hidden=64", "arch.g_width=8", "arch.d_width=8",
        "arch.q_hidden=32", "optimizers.D.lr=1e-3", "optimizers.Q.lr=1e-3", "train.images=6400",
    ],
    "ae": ["arch.resolution=8", "arch.latent.dim=8", "arch.g_hidden=64", "arch.e_hidden=64", "train.images=6400"],
    "vae": [
        "arch.latent.dim=8", "arch.g_hidden=64", "arch.e_hidden=64", "optimizers.G.lr=3e-3", "optimizers.E.lr=3e-3",
        "train.images=6400",
    ],
}  # fmt: skip


def curves(family: str, cache: Path, *changes: str) -> dict[str, list[float]]:
    """Metrics of 200 steps, a mean over each 20."""
    shared = ["resources.workers=1", "ema=null", "train.batch=32", "train.log_steps=20"]
    spec = with_overrides(recipes()[f"{family}-digits"](), [*shared, *CHANGES[family], *changes])
    learned: Learned = learn(spec, cache)
    return learned.curves


@pytest.mark.long
def test_the_bound_rises_towards_the_entropy_of_the_code_and_stays_low_in_a_plain_gan(digits_cache: Path) -> None:
    infogan = curves("infogan", digits_cache)["Q/information"]
    plain = curves("infogan", digits_cache, "arch.maximise_information=false")["Q/information"]
    assert infogan[0] < 0.5
    assert infogan[-1] > 0.7 * log(10)
    assert infogan[-1] < log(10)
    assert plain[-1] < 0.2 * log(10)


@pytest.mark.parametrize(("reconstruction", "most"), [("l2", 0.4), ("l1", 0.6)])  # the error itself, not its square
def test_the_autoencoders_reconstruction_error_falls(reconstruction: str, most: float, digits_cache: Path) -> None:
    error = curves("ae", digits_cache, f"arch.reconstruction={reconstruction}")["G/reconstruction"]
    assert error[-1] < most * error[0]


def test_the_vaes_bound_rises_with_codes_that_are_used(digits_cache: Path) -> None:
    found = curves("vae", digits_cache)
    elbo, divergence = found["elbo"], found["E/kl"]
    assert elbo[-1] > elbo[0] + 40
    assert 2.0 < divergence[-1] < 15.0
