"""BiGAN's E learns to invert G from D alone, and the regressors' E from G's samples."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learning import learn
from torch import Tensor

from trainer.data.stream import open_dataset
from trainer.engine.state import TrainState
from trainer.families.bigan import losses
from trainer.families.bigan.recipes import bigan_digits
from trainer.objective.phases import Batch, Nets
from trainer.spec import JobSpec, with_overrides


def spec(training: str, steps: int) -> JobSpec:
    changes = [f"arch.{net}_hidden=128" for net in "ged"]
    changes += [f"optimizers.{player}.{field}" for player in "GED" for field in ("lr=2e-3", "schedule.kind=constant")]
    changes += ["arch.resolution=8", "resources.workers=1"]
    changes += [f"arch.encoder_training={training}", f"train.images={64 * steps}"]
    return with_overrides(bigan_digits(), changes)


@torch.no_grad()
def ratio(state: TrainState, cache: Path) -> float:
    """Squared error of G(E(x)) against x, over that against other images: 1 where the code says nothing of x."""
    images, _ = open_dataset(state.spec, cache_dir=cache).images(range(0, 1797, 3))
    x = images.float() / 255.0
    again = state.net("G").eval()(state.net("E").eval()(x))
    others = torch.stack([(again - x.roll(shift, 0)).square().mean() for shift in range(1, 20)]).mean()
    return float((again - x).square().mean() / others)


@pytest.mark.long
def test_codes_say_which_image_they_are_of_if_d_sees_them_beside_it(digits_cache: Path) -> None:
    assert ratio(learn(spec("bigan", 350), digits_cache).state, digits_cache) < 0.93


@pytest.mark.long
def test_codes_say_nothing_if_d_looks_at_the_images_alone(digits_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = losses.judge

    def blind(nets: Nets, batch: Batch, codes: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return judged(nets, replace(batch, z=torch.zeros_like(batch.z)), 0.0 * codes, fake)

    monkeypatch.setattr(losses, "judge", blind)
    assert ratio(learn(spec("bigan", 200), digits_cache).state, digits_cache) > 0.97


@pytest.mark.long
@pytest.mark.parametrize(
    ("training", "known", "most"),
    [("latent-regressor", 0.06, 0.9), ("joint-latent-regressor", 0.13, 0.7)],  # a G that plays along makes it easier
)
def test_the_regressor_finds_z_in_gs_samples(training: str, known: float, most: float, digits_cache: Path) -> None:
    learned = learn(spec(training, 250), digits_cache)
    nothing, everything = math.log(2.0), 0.5  # the cross-entropy of a uniform z for who knows nothing, or all, of it
    assert everything < learned.curves["E/loss"][-1] < nothing - known
    assert ratio(learned.state, digits_cache) < most
