"""Building blocks against naive loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainer.nets import init
from trainer.nets.condition import append_features, append_maps, one_hot
from trainer.nets.conv import double, doublings, halve
from trainer.nets.maxout import Maxout
from trainer.nets.norm import norm2d, uses_batch_statistics


def test_maxout_is_the_largest_of_its_linear_pieces() -> None:
    torch.manual_seed(0)
    layer = Maxout(features=3, units=4, pieces=5)
    x = torch.randn(2, 3)
    layer.requires_grad_(False)
    weight, bias = layer.linear.weight.view(4, 5, 3), layer.linear.bias.view(4, 5)
    for b in range(2):
        for u in range(4):
            pieces = [sum(weight[u, p, i] * x[b, i] for i in range(3)) + bias[u, p] for p in range(5)]
            assert layer(x)[b, u].item() == pytest.approx(max(float(piece) for piece in pieces), rel=1e-5, abs=1e-6)


def test_maxout_sends_the_gradient_to_the_winning_piece_alone() -> None:
    layer = Maxout(features=1, units=1, pieces=3)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0], [3.0], [2.0]]))
        layer.linear.bias.zero_()
    layer(torch.tensor([[2.0]])).backward()
    assert layer.linear.weight.grad.flatten().tolist() == [0.0, 2.0, 0.0]


def test_one_hot_marks_the_label() -> None:
    y = one_hot(torch.tensor([2, 0]), 3)
    assert y.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert y.dtype == torch.float32


def test_append_features_puts_y_behind_x() -> None:
    x, y = torch.ones(2, 3), torch.zeros(2, 2)
    assert append_features(x, y)[0].tolist() == [1, 1, 1, 0, 0]
    assert append_features(x, None) is x


def test_append_maps_makes_one_constant_map_of_each_entry() -> None:
    x, y = torch.randn(2, 3, 4, 5), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    joined = append_maps(x, y)
    assert joined.shape == (2, 5, 4, 5)
    assert torch.equal(joined[:, :3], x)
    assert joined[0, 3].unique().tolist() == [1.0]
    assert joined[0, 4].unique().tolist() == [0.0]
    assert joined[1, 4].unique().tolist() == [1.0]
    assert append_maps(x, None) is x


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("size", [4, 7, 8, 14, 32])
def test_halve_and_double_are_exact(kernel: int, size: int) -> None:
    small = torch.randn(1, 2, size, size)
    big = double(2, 3, kernel)(small)
    assert big.shape == (1, 3, 2 * size, 2 * size)
    assert halve(3, 2, kernel)(big).shape == small.shape


@pytest.mark.parametrize(
    ("resolution", "expected"), [(8, (4, 1)), (16, (4, 2)), (28, (7, 2)), (32, (4, 3)), (64, (4, 4)), (128, (4, 5))]
)
def test_doublings_reach_the_resolution(resolution: int, expected: tuple[int, int]) -> None:
    assert doublings(resolution) == expected


@pytest.mark.parametrize("resolution", [4, 7, 12, 30, 100])
def test_doublings_refuse_what_they_cannot_reach(resolution: int) -> None:
    with pytest.raises(ValueError, match=str(resolution)):
        doublings(resolution)


def test_normal_init_has_dcgans_moments() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(32, 64, 5), nn.BatchNorm2d(64), nn.ConvTranspose2d(64, 32, 5), nn.Linear(200, 200))
    init.normal_(net, 0.02)
    for index in (0, 2, 3):
        weight = net[index].weight
        margin = 4 * 0.02 / math.sqrt(weight.numel())
        assert weight.mean().abs().item() < margin
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert net[index].bias.abs().max().item() == 0.0
    assert net[1].weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert net[1].weight.std().item() == pytest.approx(0.02, rel=0.4)
    assert net[1].bias.abs().max().item() == 0.0


def test_uniform_init_fills_its_interval() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 100, bias=False))
    init.uniform_(net, 0.05)
    for index in (0, 2):
        weight = net[index].weight
        assert 0.0499 < weight.abs().max().item() <= 0.05
        assert weight.std().item() == pytest.approx(0.05 / math.sqrt(3), rel=0.02)
    assert net[0].bias.abs().max().item() == 0.0


@pytest.mark.parametrize(
    ("module", "mixes"),
    [
        (norm2d("batch", 4), True),
        (norm2d("layer", 4), False),
        (norm2d("none", 4), False),
        (nn.Sequential(nn.Sequential(nn.SyncBatchNorm(4))), True),
        (nn.InstanceNorm2d(4), False),
        (nn.Dropout(0.5), False),
    ],
)
def test_uses_batch_statistics_says_whether_samples_mix(module: nn.Module, mixes: bool) -> None:
    assert uses_batch_statistics(nn.Sequential(nn.Identity(), module)) is mixes
    if isinstance(module, nn.Dropout) or any(isinstance(part, nn.SyncBatchNorm) for part in module.modules()):
        return  # random, or CUDA only
    x = torch.randn(4, 4, 3, 3)
    alone = torch.cat([module(x[:2]), module(x[2:])])
    assert torch.allclose(module(x), alone, atol=1e-5) is not mixes


def test_uses_batch_statistics_asks_modules_of_other_kinds() -> None:
    class Minibatch(nn.Module):
        batch_statistics = True

    assert uses_batch_statistics(nn.Sequential(Minibatch()))
    assert not uses_batch_statistics(lambda x: x)


def test_layer_norm_normalises_each_sample_over_all_its_maps() -> None:
    x = 3 + 2 * torch.randn(2, 4, 5, 5)
    y = norm2d("layer", 4)(x)
    for sample in y:
        assert sample.mean().item() == pytest.approx(0.0, abs=1e-5)
        assert sample.var(unbiased=False).item() == pytest.approx(1.0, abs=1e-3)
