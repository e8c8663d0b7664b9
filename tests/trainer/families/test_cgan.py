"""The conditional GAN is built as section 4.1 of Mirza & Osindero 2014 says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainer.families.cgan.arch import CganArch
from trainer.families.cgan.nets import FAMILY
from trainer.families.cgan.recipes import cgan
from trainer.nets.maxout import Maxout
from trainer.spec import Adam, JobSpec, Sgd, SpecError, parse_spec


def linears(net: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]


def test_g_maps_z_to_200_and_y_to_1000_units_that_meet_in_1200() -> None:
    g = FAMILY.build(CganArch())["G"]
    assert linears(g.z) == [(100, 200)]
    assert linears(g.y) == [(10, 1000)]
    assert linears(g.joint) == [(1200, 1200), (1200, 784)]
    assert [type(m) for m in g.joint] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.Sigmoid]


def test_d_maps_x_and_y_to_maxout_layers_that_meet_in_one() -> None:
    d = FAMILY.build(CganArch())["D"]
    maxouts = [(m.linear.in_features, m.units, m.pieces) for m in d.modules() if isinstance(m, Maxout)]
    assert maxouts == [(784, 240, 5), (10, 50, 5), (290, 240, 4)]
    assert (d.joint[-1].in_features, d.joint[-1].out_features) == (240, 1)


@pytest.mark.parametrize("player", ["G", "D"])
def test_half_of_all_hidden_units_and_of_no_inputs_are_dropped(player: str) -> None:
    net = FAMILY.build(CganArch(resolution=8))[player]
    dropouts = [m for m in net.modules() if isinstance(m, nn.Dropout)]
    seen: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
    for m in dropouts:
        m.register_forward_hook(lambda module, inputs, output: seen.update({module: (inputs[0], output)}))
    given = torch.rand(64, 100) if player == "G" else torch.rand(64, 1, 8, 8)
    net.train()(given, torch.arange(64) % 10)
    assert len(seen) == 3
    for before, after in seen.values():
        assert before.shape[1] in (200, 1000, 1200, 240, 50)
        live = before != 0
        assert (after[live] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
        kept = live & (after != 0)
        torch.testing.assert_close(after[kept], 2.0 * before[kept])


def test_z_is_uniform_in_the_unit_hypercube() -> None:
    z = FAMILY.latents(CganArch(), 4000, torch.Generator().manual_seed(0))
    assert z.shape == (4000, 100)
    assert z.min().item() >= 0.0
    assert z.max().item() <= 1.0
    assert z.mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_model_without_classes_is_refused_with_the_fix() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(
            {"arch": {"family": "cgan", "classes": 0}, "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}}}
        )
    (error,) = caught.value.errors
    assert error.path == "arch.classes"
    assert "conditioned on labels" in error.message
    assert "classes that the data has" in error.fix


def test_ten_classes_are_the_default() -> None:
    adam = Adam()
    assert JobSpec(arch=CganArch(), optimizers={"G": adam, "D": adam}).arch.classes == 10


def test_the_recipe_has_the_papers_numbers() -> None:
    spec = cgan()
    sgd = spec.optimizers["G"]
    assert isinstance(sgd, Sgd)
    assert spec.optimizers["D"] == sgd
    assert (sgd.lr, sgd.momentum, sgd.final_momentum) == (0.1, 0.5, 0.7)
    assert sgd.schedule.factor(1, spec.train.images, 1) == pytest.approx(1 / 1.00004)
    assert sgd.lr * sgd.schedule.factor(1, spec.train.images, 10**7) == pytest.approx(1e-6)
    assert spec.train.batch == 100
