"""Second derivatives: forms that have one, and D's penalties against numerical derivatives through all of its forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.families.biggan.arch import BigganArch
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.families.table import family
from trainer.nets.attention import attend
from trainer.nets.derivatives import twice_differentiable
from trainer.nets.relu import relu_for_conv
from trainer.nets.resample import Conv3, ConvPool3, UpConv3, box
from trainer.nets.spectral import iterate_
from trainer.objective.penalties import gradient_penalty, r1

F64 = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_attention_computes_the_same_in_the_form_that_has_a_second_derivative() -> None:
    inputs = drawn(2, 6, 3), drawn(2, 4, 3, seed=1), drawn(2, 4, 5, seed=2)
    fused = attend(*inputs)
    with twice_differentiable():
        plain = attend(*inputs)
    torch.testing.assert_close(plain, fused, rtol=0.0, atol=1e-12)


def twice(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    with twice_differentiable():
        return attend(query, key, value)


def test_attention_has_its_numerical_second_derivative() -> None:
    inputs = drawn(1, 4, 3), drawn(1, 2, 3, seed=1), drawn(1, 2, 2, seed=2)
    assert torch.autograd.gradcheck(twice, inputs)
    assert torch.autograd.gradgradcheck(twice, inputs)


@pytest.mark.parametrize("channels_last", [False, True])
def test_functions_of_our_own_have_their_numerical_second_derivatives(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = drawn(1, 2, 4, 4).detach().to(memory_format=layout).requires_grad_()
    for form in (
        lambda x: relu_for_conv(2.0 * x) ** 2,
        lambda x: box(x, grows=True, divisor=4) ** 2,
        lambda x: box(x, grows=False, divisor=1) ** 2,
    ):
        assert torch.autograd.gradcheck(form, (x,))
        assert torch.autograd.gradgradcheck(form, (x,), fast_mode=True)
    weight = drawn(2, 2, 3, 3, seed=1)
    for layer in (Conv3(2, 2), UpConv3(2, 2), ConvPool3(2, 2)):
        form = lambda x, weight, layer=layer: layer._conv_forward(x, weight, None)  # noqa: E731
        assert torch.autograd.gradgradcheck(form, (x, weight), fast_mode=True)


@pytest.mark.parametrize("kind", [BigganArch, BigganDeepArch])
@pytest.mark.parametrize("penalty", ["r1", "gradient-penalty"])
def test_a_penaltys_gradient_through_attention_and_spectral_norms_is_the_numerical_one(
    kind: type, penalty: str
) -> None:
    """By D's parameters, along a random direction. In training mode, with the spectral vectors of the weights held fixed."""
    torch.manual_seed(0)
    d = family(kind.model_fields["family"].default).build(
        kind(resolution=16, channels=1, classes=3, g_width=8, d_width=8, attention=8)
    )["D"]
    d = d.double().train()
    for name, parameter in d.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.7)  # it starts at 0, where attention has no part in anything
    iterate_(d)
    real, fake, labels = drawn(3, 1, 16, 16).detach(), drawn(3, 1, 16, 16, seed=1).detach(), torch.tensor([0, 1, 2])

    def value() -> Tensor:
        torch.manual_seed(1)  # the same points between real and fake
        return r1(d, real, labels) if penalty == "r1" else gradient_penalty(d, real, fake, labels).value

    parameters = [parameter for parameter in d.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    directions = [torch.randn_like(parameter) for parameter in parameters]
    found = sum((g * along).sum() for g, along in zip(gradients, directions, strict=True) if g is not None)
    step = 1e-9  # the smaller, the fewer of its ReLUs change sides: there the penalty jumps
    ends = []
    for sign in (1.0, -2.0):
        with torch.no_grad():
            torch._foreach_add_(parameters, directions, alpha=sign * step)
        ends.append(value().detach())
    numerical = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(found, numerical, rtol=1e-3, atol=1e-5)
