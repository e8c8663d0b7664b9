"""R3GAN's nets against Huang et al. 2024: blocks that start as the identity, no norms, resampling by the filter they name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.signal import convolve2d
from torch import nn

from trainer.families.r3gan.arch import R3ganArch
from trainer.families.r3gan.nets import FAMILY, GAIN, Block
from trainer.nets.norm import uses_batch_statistics
from trainer.nets.resample import Down2, up2

SMALL = R3ganArch(resolution=16, channels=1, g_width=8, d_width=8, blocks=2)


def test_every_block_starts_as_the_identity_and_then_changes() -> None:
    torch.manual_seed(0)
    block, x = Block(8, SMALL, depth=6), torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    nn.init.normal_(block.project.weight)
    assert not torch.allclose(block(x), x, atol=0.1)


@pytest.mark.parametrize("depth", [1, 16])
def test_inner_layers_have_fixups_scale(depth: int) -> None:
    """He's standard deviation times L^(−1 / (2m − 2)), m = 3 layers in a branch, L branches (Zhang et al. 2019)."""
    torch.manual_seed(0)
    block = Block(256, R3ganArch(g_width=256, d_width=256), depth)
    for layer, fan_in in ((block.expand, 256), (block.mix, 16 * 9)):
        assert layer.weight.std().item() == pytest.approx(GAIN / fan_in**0.5 * depth ** (-1 / 4), rel=0.02)
        assert not layer.bias.any()


def test_blocks_are_expand_grouped_project() -> None:
    block = Block(64, R3ganArch(), depth=1)
    assert [(layer.in_channels, layer.out_channels, layer.kernel_size, layer.groups) for layer in block.children()] == [
        (64, 128, (1, 1), 1),
        (128, 128, (3, 3), 8),  # groups of 16 channels
        (128, 64, (1, 1), 1),
    ]


def test_neither_net_normalises() -> None:
    nets = FAMILY.build(SMALL.replace(classes=3))
    known = (nn.Conv2d, nn.Linear, nn.Embedding, nn.Identity, Down2)
    for net in nets.values():
        assert all(isinstance(module, known) for module in net.modules() if not list(module.children()))
        assert not uses_batch_statistics(net)


def test_width_and_maximum_equal_give_the_papers_constant_width() -> None:
    """Huang et al.'s CIFAR-10 net: 768 channels and 2 blocks at each of 4, 8, 16 and 32 px, 96 groups."""
    with torch.device("meta"):
        nets = FAMILY.build(R3ganArch(resolution=32, classes=10, g_width=768, d_width=768))
    for net in nets.values():
        mixers = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert [(m.in_channels, m.groups) for m in mixers] == [(1536, 96)] * 8


@pytest.mark.parametrize("size", [4, 7])
def test_downsampling_is_the_low_pass_filter_at_every_second_pixel(size: int) -> None:
    x = np.random.default_rng(0).standard_normal((2 * size, 2 * size))
    taps = np.array([1.0, 3.0, 3.0, 1.0]) / 8.0
    blurred = convolve2d(np.pad(x, 1), np.outer(taps, taps), mode="valid")[::2, ::2]
    found = Down2().double()(torch.from_numpy(x)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, blurred, rtol=1e-6, atol=1e-7)


def test_upsampling_is_downsamplings_transpose_times_four_away_from_the_edges() -> None:
    x, y = torch.zeros(1, 1, 8, 8, dtype=torch.float64), torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    x[..., 2:6, 2:6], y[..., 4:12, 4:12] = torch.randn(4, 4), torch.randn(8, 8)
    inner = (up2(x) * y).sum().item()
    assert inner == pytest.approx(4 * (x * Down2().double()(y)).sum().item(), rel=1e-6)


def test_both_resamplings_keep_the_mean_of_a_plane_and_channels_apart() -> None:
    x = torch.arange(3.0)[None, :, None, None].expand(1, 3, 8, 8)
    assert torch.allclose(up2(x), torch.arange(3.0)[None, :, None, None].expand(1, 3, 16, 16))
    assert torch.allclose(Down2()(x)[..., 1:-1, 1:-1], torch.arange(3.0)[None, :, None, None].expand(1, 3, 2, 2))


def test_a_width_that_the_groups_do_not_divide_is_refused_with_the_fix() -> None:
    with pytest.raises(ValidationError, match=r"group_width \(16\) does not divide g_width × expansion \(20 × 2\)"):
        R3ganArch(g_width=20)


@pytest.mark.parametrize("resolution", [9, 30, 96])
def test_impossible_resolutions_of_r3gan_are_refused(resolution: int) -> None:
    with pytest.raises(ValidationError, match="use 8, 16, 28, 32, 64 or 128"):
        R3ganArch(resolution=resolution)
