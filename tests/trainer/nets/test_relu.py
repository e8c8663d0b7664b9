"""The ReLU before a convolution: torch's own ReLU, with a gradient that is masked where it lies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from trainer.nets.relu import relu_for_conv


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_torchs_relu(inplace: bool, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    start = torch.randn(2, 3, 8, 6).to(memory_format=layout)
    start[0, 0, 0, :2] = torch.tensor([0.0, -0.0])
    weight = torch.randn(5, 3, 3, 3)
    found = []
    for relu in (torch.relu, lambda x: relu_for_conv(x, inplace=inplace)):
        x = start.clone().requires_grad_()
        own = x * 2.0  # as of a layer before it: a leaf may not be changed
        y = relu(own)
        (conv2d(avg_pool2d(y, 2), weight).square().sum() + x.sum()).backward()
        found.append((y.detach(), x.grad))
        assert (y is own) == (inplace and relu is not torch.relu)
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert torch.equal(ours, theirs)


def test_its_gradient_has_a_gradient() -> None:
    """As penalties of D's gradient ask for."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 3, 3, 3, dtype=torch.float64)

    def judged(x: Tensor) -> Tensor:
        return conv2d(relu_for_conv(conv2d(x, weight), inplace=True), weight[:, :, :1, :1]).tanh()

    assert torch.autograd.gradcheck(judged, x)
    assert torch.autograd.gradgradcheck(judged, x)


def test_the_gradient_is_masked_where_it_lies() -> None:
    """The tensor that the convolution hands back is the one that goes on."""
    places = []
    own = torch.randn(1, 2, 4, 4, requires_grad=True) * 1.0
    y = relu_for_conv(own)
    for tensor in (y, own):
        tensor.register_hook(lambda slope: places.append(slope.data_ptr()))
    conv2d(y, torch.randn(2, 2, 1, 1)).sum().backward()
    assert places[0] == places[1]


def test_only_what_the_convolution_hands_back_is_changed() -> None:
    """A block whose input goes two ways, as the residual ones do."""
    torch.manual_seed(0)
    layer, kept = nn.Conv2d(3, 3, 1), torch.randn(2, 3, 4, 4)
    grads = []
    for relu in (torch.relu, relu_for_conv):
        x = kept.clone().requires_grad_()
        out = layer(relu(x)).add_(x)
        slope = torch.ones_like(out)
        out.backward(slope)
        assert bool((slope == 1).all())
        grads.append(x.grad)
    assert torch.equal(*grads)
