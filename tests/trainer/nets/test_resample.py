"""Resampling fused with a 3 × 3 convolution against the two done one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from trainer.nets import resample
from trainer.nets.resample import ConvPool3, UpConv3, add_nearest2, box, nearest2


def up_then_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return conv2d(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), weight, bias, padding=1)


def conv_then_pool(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return avg_pool2d(conv2d(x, weight, bias, padding=1), 2)


each_fused = pytest.mark.parametrize(
    ("kind", "plain", "size"), [(UpConv3, up_then_conv, (3, 5)), (UpConv3, up_then_conv, (1, 1)),
                                (ConvPool3, conv_then_pool, (6, 4)), (ConvPool3, conv_then_pool, (2, 2))]
)  # fmt: skip


@each_fused
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("apart", [False, True], ids=["4x4", "box-and-3x3"])
def test_fused_layers_compute_the_plain_form_and_its_gradients_edges_included(
    kind: type[UpConv3 | ConvPool3],
    plain: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    size: tuple[int, int],
    bias: bool,
    layout: torch.memory_format,
    apart: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resample, "box_pays", lambda input, weight: apart)
    torch.manual_seed(0)
    layer = kind(3, 4, bias=bias).double().to(memory_format=layout)
    x = torch.randn(2, 3, *size, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    leaves = [x, *layer.parameters()]
    ours, theirs = layer(x), plain(x, layer.weight, layer.bias)
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-10)
    probe = torch.randn_like(ours)
    found, wanted = (torch.autograd.grad((y * probe).sum(), leaves) for y in (ours, theirs))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-10)


def test_the_4x4_kernel_is_taken_apart_on_a_cpu_where_there_are_many_channels() -> None:
    wide, narrow = torch.zeros(128, 64, 3, 3), torch.zeros(32, 16, 3, 3)
    assert resample.box_pays(torch.zeros(1, 64, 4, 4).to(memory_format=torch.channels_last), wide)
    assert not resample.box_pays(torch.zeros(1, 16, 4, 4).to(memory_format=torch.channels_last), narrow)
    assert not resample.box_pays(torch.zeros(1, 64, 4, 4, device="meta"), wide)


@each_fused
def test_parameters_are_those_of_the_3x3_convolution(kind: type[nn.Conv2d], plain: object, size: object) -> None:
    layer, convolution = kind(3, 4), nn.Conv2d(3, 4, 3)
    layer.load_state_dict(convolution.state_dict())
    assert torch.equal(layer.weight, convolution.weight)


@pytest.mark.parametrize(("grows", "divisor"), [(True, 4), (False, 1)])
def test_the_gradient_of_a_box_is_that_of_pooling_and_so_are_further_ones(grows: bool, divisor: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    wanted = avg_pool2d(x, 2, stride=1, padding=int(grows), divisor_override=divisor)
    torch.testing.assert_close(box(x, grows=grows, divisor=divisor), wanted, rtol=0.0, atol=0.0)
    assert torch.autograd.gradcheck(lambda x: box(x, grows=grows, divisor=divisor), x)
    assert torch.autograd.gradgradcheck(lambda x: box(x, grows=grows, divisor=divisor).pow(3), x)


@pytest.mark.parametrize("bias", [True, False])
def test_few_outputs_of_many_inputs_are_the_sum_of_their_taps_with_the_same_gradients(bias: bool) -> None:
    torch.manual_seed(0)
    layer = resample.Conv3(96, 3, bias=bias)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        layer.zero_grad()
        x = (
            torch.randn(2, 96, 5, 7, generator=torch.Generator().manual_seed(1))
            .to(memory_format=layout)
            .requires_grad_()
        )
        assert resample.taps_pay(x, layer.weight) == (layout is torch.channels_last)
        y = layer(x)
        y.square().sum().backward()
        found.append([y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())])
    for plain, taps in zip(*found, strict=True):
        torch.testing.assert_close(taps, plain, rtol=1e-4, atol=1e-4)
    few, last = torch.zeros(3, 64, 3, 3), torch.channels_last
    assert not resample.taps_pay(torch.zeros(1, 64, 4, 4).to(memory_format=last), few)
    assert not resample.taps_pay(torch.zeros(1, 96, 4, 4, dtype=torch.bfloat16).to(memory_format=last), layer.weight)
    assert not resample.taps_pay(torch.zeros(1, 96, 4, 4).to(memory_format=last), torch.zeros(8, 96, 3, 3))
    with torch.autocast("cpu", torch.bfloat16):  # the map may still be float32, the products would not be
        assert not resample.taps_pay(torch.zeros(1, 96, 4, 4).to(memory_format=last), layer.weight)


def test_a_doubled_map_is_added_with_and_without_gradients() -> None:
    x, half = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 2, 3)
    for layout in (torch.contiguous_format, torch.channels_last):
        x, half = x.to(memory_format=layout), half.to(memory_format=layout)
        with torch.no_grad():
            changed = add_nearest2(x.clone(), half)
        assert torch.equal(changed, x + nearest2(half))
        assert torch.equal(add_nearest2(x.clone().requires_grad_().clone(), half), changed)


def test_nearest2_shows_each_pixel_four_times() -> None:
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert nearest2(x)[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
