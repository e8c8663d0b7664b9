"""FLOPs, bytes and memory that the tape writes down are those of the closed forms; nothing is computed for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from trainer.plan.study import Autocast
from trainer.plan.tape import Tape


def flops(tape: Tape, section: str = "") -> int:
    return sum(cost.flops * n for cost, n in tape.costs[section].items())


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_and_its_gradients_cost_what_the_sums_say(groups: int, transposed: bool) -> None:
    batch, inputs, outputs, side, kernel = 3, 8, 12, 10, 4
    with FakeTensorMode():
        make = nn.ConvTranspose2d if transposed else nn.Conv2d
        layer = make(inputs, outputs, kernel, stride=2, padding=1, groups=groups)
        x = torch.empty(batch, inputs, side, side, requires_grad=True)
        tape = Tape()
        with tape:
            with tape.section("forward"):
                y = layer(x)
            with tape.section("backward"):
                y.sum().backward()
    # Each position of the smaller side meets the kernel once, for each pair of channels of a group.
    positions = side**2 if transposed else (side // 2) ** 2
    once = 2 * batch * positions * kernel**2 * inputs * outputs // groups
    assert flops(tape, "forward") == once
    assert flops(tape, "backward") == 2 * once


def test_double_backward_of_a_linear_critic_is_counted() -> None:
    """A gradient penalty: W in the forward pass, in ∂/∂x, and in the gradients of the penalty by W and by the output's gradient."""
    batch, features, hidden = 5, 7, 11
    with FakeTensorMode():
        layer = nn.Linear(features, hidden, bias=False)
        x = torch.empty(batch, features, requires_grad=True)
        tape = Tape()
        with tape:
            (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
            gradient.square().sum().backward()
    once = 2 * batch * features * hidden
    # y = Wx · g = Wᵀ(2y) · dW from g: (2y)ᵀ dg · d(2y) = W dg · then through y = Wx: dW and dx
    assert flops(tape) == 6 * once


def test_vectors_count_too() -> None:
    with FakeTensorMode():
        weight, v = torch.empty(6, 9), torch.empty(9)
        tape = Tape()
        with tape:
            torch.mv(weight, v)
            torch.dot(v, v)
    assert flops(tape) == 2 * 6 * 9 + 2 * 9


def test_an_elementwise_operation_reads_and_writes_once_and_a_view_nothing() -> None:
    with FakeTensorMode():
        x = torch.empty(4, 1024)
        tape = Tape()
        with tape:
            x.relu()
            x.view(2, 2048).t()
            x[:1].expand(4, 1024).relu()
    assert sorted(cost.bytes for cost in tape.costs[""]) == [4 * 1024 * 5, 4 * 1024 * 8]


def test_the_peak_is_that_of_a_computation_known_by_hand() -> None:
    """sigmoid saves its result, relu too; the backward pass brings ones, relu's gradient and sigmoid's, which is kept."""
    size = 4 * 2**20
    with FakeTensorMode():
        x = torch.empty(2**20, requires_grad=True)
        tape = Tape()
        tape.hold("weights", [x])
        with tape:
            y = x.sigmoid().relu()
            assert tape.live["activations"] == 2 * size
            y.backward(torch.ones_like(y))
            del y
        assert tape.live["activations"] == size  # x.grad
        assert tape.peak["weights"] == size
        # Both results, ones, both gradients: y and ones are still held here.
        assert tape.peak["activations"] == 5 * size
        x.grad = None
        assert tape.live["activations"] == 0


def test_what_is_held_is_of_its_part_and_leaves_when_it_is_freed() -> None:
    with FakeTensorMode():
        a = torch.empty(100)
        tape = Tape()
        tape.hold("weights", [a, a[:10]])
        assert dict(tape.live) == {"weights": 400}
        tape.hold("gradients", [a])
        assert tape.live["weights"] == 0
        assert tape.live["gradients"] == 400
        del a
        assert tape.live["gradients"] == 0
        assert tape.peak == {"weights": 400}


def test_autocast_computes_in_bfloat16_and_answers_in_float32() -> None:
    with FakeTensorMode():
        net, x = Autocast(nn.Linear(8, 8)), torch.empty(4, 8)
        tape = Tape()
        with tape:
            y: Tensor = net(x)
    assert y.dtype == torch.float32
    assert {cost.dtype for cost in tape.costs[""] if cost.flops} == {"bfloat16"}
