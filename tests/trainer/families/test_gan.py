"""Goodfellow's GAN is built as in the authors' mnist.yaml."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainer.families.gan.arch import GanArch
from trainer.families.gan.nets import FAMILY
from trainer.families.gan.recipes import gan, gan_minimax
from trainer.nets.maxout import Maxout
from trainer.spec import Sgd


def test_g_is_100_1200_1200_784_with_relu_and_sigmoid() -> None:
    layers = list(FAMILY.build(GanArch())["G"].layers)
    assert [(m.in_features, m.out_features) for m in layers[::2]] == [(100, 1200), (1200, 1200), (1200, 784)]
    assert [type(m) for m in layers[1::2]] == [nn.ReLU, nn.ReLU, nn.Sigmoid]


def test_d_is_784_240_240_1_in_five_maxout_pieces_with_dropout_2_5_5() -> None:
    d = FAMILY.build(GanArch())["D"]
    maxouts = [m for m in d.modules() if isinstance(m, Maxout)]
    assert [(m.linear.in_features, m.units, m.pieces) for m in maxouts] == [(784, 240, 5), (240, 240, 5)]
    assert [m.p for m in d.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.5, 0.5]
    assert (d.layers[-1].in_features, d.layers[-1].out_features) == (240, 1)


@pytest.mark.parametrize(("name", "bound"), [("G", 0.05), ("D", 0.005)])
def test_initial_weights_are_uniform_and_biases_zero(name: str, bound: float) -> None:
    torch.manual_seed(0)
    for layer in FAMILY.build(GanArch())[name].modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.abs().max().item() <= bound
            if layer.weight.numel() > 1000:
                assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
            assert layer.bias.abs().max().item() == 0.0


def test_z_is_uniform_with_unit_variance() -> None:
    z = FAMILY.latents(GanArch(), 4000, torch.Generator().manual_seed(0))
    assert z.shape == (4000, 100)
    assert z.abs().max().item() <= math.sqrt(3)
    assert z.var().item() == pytest.approx(1.0, rel=0.01)


def test_without_the_mean_image_as_a_start_the_data_is_not_asked_for_one() -> None:
    arch = GanArch(resolution=8, mean_start=False)
    g = FAMILY.build(arch)["G"]

    def read() -> torch.Tensor:
        raise AssertionError("the data was read")

    FAMILY.prepare(arch, {"G": g}, read)
    torch.testing.assert_close(g(torch.zeros(2, 100)), torch.full((2, 1, 8, 8), 0.5))


def test_dropout_spares_the_label() -> None:
    d = FAMILY.build(GanArch(resolution=8, classes=4, input_dropout=0.9, hidden_dropout=0.0))["D"].train()
    seen: list[torch.Tensor] = []
    d.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    d(torch.ones(500, 1, 8, 8), torch.full((500,), 2))
    assert seen[0].shape == (500, 64 + 4)
    assert torch.equal(seen[0][:, 64:], torch.tensor([0.0, 0.0, 1.0, 0.0]).expand(500, 4))
    assert (seen[0][:, :64] == 0).float().mean().item() == pytest.approx(0.9, abs=0.02)


def test_the_first_images_are_the_mean_image() -> None:
    arch = GanArch(resolution=8, channels=3)
    mean = torch.rand(3, 8, 8)
    mean[0, 0, :2] = torch.tensor([0.0, 1.0])  # always dark, always bright: finite logits, and the same after rounding
    g = FAMILY.build(arch)["G"]
    FAMILY.prepare(arch, {"G": g}, lambda: mean)
    images = g(torch.zeros(5, 100))  # without noise nothing but the bias acts
    torch.testing.assert_close(images, mean.expand(5, 3, 8, 8), rtol=0.0, atol=1e-6)
    assert torch.isfinite(g.get_parameter("layers.4.bias")).all()


def test_the_recipe_has_the_authors_numbers() -> None:
    spec = gan()
    g, d = spec.optimizers["G"], spec.optimizers["D"]
    assert isinstance(g, Sgd)
    assert isinstance(d, Sgd)
    assert (g.lr, g.momentum, g.final_momentum, g.momentum_images) == (0.1, 0.5, 0.7, 250 * 50_000)
    assert d == g.replace(lr=0.05)  # their D minimises half of our loss
    assert spec.train.batch == 100
    assert spec.objective.loss == "non-saturating"
    assert g.schedule.factor(1, spec.train.images, 1) == pytest.approx(1 / 1.000004)
    assert g.lr * g.schedule.factor(1, spec.train.images, 10**8) == pytest.approx(1e-6)  # their least rate


def test_the_minimax_recipe_differs_in_the_loss_alone() -> None:
    changed = gan().replace(name="gan-minimax", objective=gan_minimax().objective)
    assert gan_minimax() == changed
    assert gan_minimax().objective.loss == "minimax"
