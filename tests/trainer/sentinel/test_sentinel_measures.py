"""The sentinel's measures equal their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from trainer.sentinel.measures import Projection, gap, margin, spread
from trainer.sentinel.spectrum import first, matrices, top_singular_values


def weights() -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=source)

    flat = torch.linalg.qr(normal(40, 40))[0]  # all singular values 1
    pair = flat * torch.tensor([3.0, 2.99, *[1.0] * 38])  # the two greatest nearly equal
    trained = normal(300, 64) * 0.02 + 0.5 * torch.outer(normal(300), normal(64))
    return {
        "tall": normal(500, 60), "wide": normal(60, 500), "square": normal(120, 120), "flat": flat, "pair": pair,
        "trained": trained, "narrow": normal(200, 3), "zero": torch.zeros(8, 9), "huge": normal(50, 50) * 1e15,
    }  # fmt: skip


def test_sigma_is_the_greatest_singular_value():
    given = weights()
    found = top_singular_values(given)
    for name, weight in given.items():
        truth = float(torch.linalg.svdvals(weight.double())[0])
        assert found[name] == pytest.approx(truth, rel=0.03), name
        assert found[name] <= truth * (1 + 1e-5)  # a Ritz value never exceeds it
    assert found["trained"] == pytest.approx(float(torch.linalg.svdvals(given["trained"])[0]), rel=1e-5)


def test_sigma_is_a_function_of_the_weights_alone():
    one, other = top_singular_values(weights()), top_singular_values(weights())
    torch.rand(7)
    assert one == other == top_singular_values(weights())


def test_sigma_of_weights_that_are_not_finite_is_nan():
    found = top_singular_values({"nan": torch.full((5, 4), math.nan), "fine": torch.eye(4)})
    assert math.isnan(found["nan"])
    assert found["fine"] == pytest.approx(1.0)


def test_the_first_layer_is_the_first_matrix_that_is_no_embedding():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classes = nn.Embedding(10, 4)
            self.scale = nn.Parameter(torch.ones(3))
            self.layers = nn.Sequential(nn.Linear(4, 6), nn.Conv2d(6, 5, 3))

    assert list(first(Net())) == ["layers.0.weight"]
    assert {name: tuple(weight.shape) for name, weight in matrices(Net()).items()} == {
        "layers.0.weight": (6, 4),
        "layers.1.weight": (5, 54),
    }
    assert first(nn.ReLU()) == {}


def test_the_gap_is_the_share_of_pairs_won_less_the_share_lost():
    source = np.random.default_rng(0)
    ours, theirs = source.integers(0, 6, 20), source.integers(0, 8, 15)
    pairs = [np.sign(a - b) for a, b in itertools.product(ours, theirs)]
    assert gap(torch.tensor(ours).float(), torch.tensor(theirs).float()) == pytest.approx(float(np.mean(pairs)))
    assert gap(torch.arange(5.0) + 10, torch.arange(5.0)) == 1.0
    assert gap(torch.ones(4), torch.ones(3)) == 0.0


def test_the_margin_is_how_sure_d_is_on_its_weaker_side():
    assert margin(torch.tensor([9.0, 10.0, 100.0]), torch.tensor([-4.0, -3.0, -50.0])) == 4.0
    assert margin(torch.tensor([1.0]), torch.tensor([2.0])) == -2.0


def test_spread_is_the_mean_distance_of_pairs_within_a_group():
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    by_hand = [
        float((features[i] - features[j]).norm()) for i in range(12) for j in range(i + 1, 12) if i // 4 == j // 4
    ]
    assert spread(features, 3) == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)
    assert spread(torch.ones(8, 5), 2) == 0.0


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 28), (3, 64)])
def test_features_are_fixed_and_hear_noise_less_than_pixels_do(channels, side):
    source = torch.Generator().manual_seed(0)
    coarse = torch.rand(24, channels, 4, 4, generator=source)
    images = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    project = Projection(channels, torch.device("cpu"))
    assert torch.equal(project(images), Projection(channels, torch.device("cpu"))(images))
    noisy = images[:1] + 0.1 * torch.randn(24, *images.shape[1:], generator=source)  # one picture, 24 times with noise
    in_features = spread(project(noisy), 1) / spread(project(images), 1)
    in_pixels = spread(noisy.flatten(1), 1) / spread(images.flatten(1), 1)
    assert in_features < in_pixels
