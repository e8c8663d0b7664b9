"""Spectral normalisation against singular value decompositions and autograd."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from trainer.nets.resample import Conv3, ConvPool3, UpConv3
from trainer.nets.spectral import Spectral, converge_, iterate_, spectral


def layers() -> dict[str, tuple[nn.Module, Tensor]]:
    """Each kind of layer, and an input of it."""
    maps = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    return {
        "conv1": (nn.Conv2d(3, 5, 1, bias=False), maps),
        "conv3": (Conv3(3, 5), maps),
        "up": (UpConv3(3, 5), maps),
        "pool": (ConvPool3(3, 5), maps),
        "linear": (nn.Linear(6, 4), torch.randn(2, 6, dtype=torch.float64)),
        "embedding": (nn.Embedding(7, 4), torch.tensor([0, 3, 3])),
    }


@pytest.fixture(params=sorted(layers()))
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layer, x = layers()[request.param]
    return spectral(layer.double()), x


def largest(layer: nn.Module) -> Tensor:
    return torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]


def update(layer: nn.Module, x: Tensor, rate: float = 0.0) -> None:
    """One gradient step, and what follows each."""
    layer.zero_grad()
    layer(x).square().sum().backward()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.sub_(rate * parameter.grad)
    iterate_(layer)


def test_it_converges_to_the_largest_singular_value(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    nn.init.normal_(layer.weight)  # the singular vectors it started with mean nothing now
    for _ in range(200):
        update(layer, x)
    torch.testing.assert_close(layer.sigma, largest(layer), rtol=1e-9, atol=0.0)
    torch.testing.assert_close(largest_of_used(layer), torch.ones((), dtype=torch.float64), rtol=1e-9, atol=0.0)


def largest_of_used(layer: Spectral) -> Tensor:
    return torch.linalg.svdvals(layer.normalised().detach().flatten(1))[0]


def test_convergence_gives_the_largest_singular_value_at_once_whatever_the_vectors_were(
    case: tuple[nn.Module, Tensor],
) -> None:
    layer, _ = case
    nn.init.normal_(layer.weight)
    converge_(layer)
    torch.testing.assert_close(layer.norm().detach(), largest(layer), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(layer.sigma, largest(layer), rtol=1e-12, atol=0.0)
    other = deepcopy(layer)
    other.u.copy_(other.u.roll(1))
    converge_(other)
    assert all(map(torch.equal, layer.state_dict().values(), other.state_dict().values()))


def test_convergence_is_done_anew_for_other_weights_and_other_vectors_only(case: tuple[nn.Module, Tensor]) -> None:
    layer, _ = case
    converge_(layer)
    versions = layer.u._version
    converge_(layer)
    assert layer.u._version == versions
    iterate_(layer)  # the same weights, but vectors that were iterated
    converge_(layer)
    assert layer.u._version > versions
    with torch.no_grad():
        torch._foreach_lerp_([layer.weight], [torch.randn_like(layer.weight)], 0.5)  # as the moving average is updated
    converge_(layer)
    torch.testing.assert_close(layer.norm().detach(), largest(layer), rtol=1e-12, atol=0.0)


def test_weights_that_are_not_finite_keep_their_vectors() -> None:
    layer = spectral(nn.Linear(6, 4))
    before = buffers(layer)
    nn.init.constant_(layer.weight, float("nan"))
    converge_(layer)
    assert all(map(torch.equal, buffers(layer), before))


def test_a_new_layer_is_near_its_norm_already(case: tuple[nn.Module, Tensor]) -> None:
    layer, _ = case
    assert layer.sigma.item() == pytest.approx(largest(layer).item(), rel=0.1)


def test_it_tracks_weights_that_move(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    for _ in range(100):
        update(layer, x, rate=1e-3)
    assert layer.eval().norm().item() == pytest.approx(largest(layer).item(), rel=0.02)


def test_output_and_gradients_are_those_of_w_over_sigma_with_u_and_v_fixed(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    plain = deepcopy(layer).requires_grad_(False)
    weight = layer.weight.detach().clone().requires_grad_()
    u, v = layer.u.clone(), layer.v.clone()
    used = weight / (u @ weight.flatten(1) @ v)
    if isinstance(layer, nn.Conv2d):
        theirs = plain._conv_forward(x, used, plain.bias)
    elif isinstance(layer, nn.Linear):
        theirs = nn.functional.linear(x, used, plain.bias)
    else:
        theirs = nn.functional.embedding(x, used)
    ours = layer(x)
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-12)
    probe = torch.randn_like(ours)
    (found,) = torch.autograd.grad((ours * probe).sum(), layer.weight)
    (wanted,) = torch.autograd.grad((theirs * probe).sum(), weight)
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-12)


def buffers(layer: nn.Module) -> list[Tensor]:
    return [value.clone() for value in layer.buffers()]


def test_no_pass_changes_anything_and_an_iteration_every_layer() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(spectral(nn.Linear(6, 5)), nn.ReLU(), spectral(nn.Linear(5, 4))), torch.randn(2, 6)
    for layer in (net[0], net[2]):
        nn.init.normal_(layer.weight)
    before = buffers(net)
    net(x).sum().backward()
    net.eval()(x)
    assert all(map(torch.equal, buffers(net), before))
    iterate_(net)
    assert not any(map(torch.equal, buffers(net), before))


def test_saved_and_loaded_it_goes_on_with_the_same_bits(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    for _ in range(3):
        update(layer, x, rate=1e-2)
    saved = {name: value.clone() for name, value in layer.state_dict().items()}
    other = deepcopy(layer)
    with torch.no_grad():
        for value in other.state_dict().values():
            value.uniform_(1.0, 2.0)
    other.load_state_dict(saved)
    for _ in range(3):
        update(layer, x, rate=1e-2)
        update(other, x, rate=1e-2)
    assert all(map(torch.equal, layer.state_dict().values(), other.state_dict().values()))


def test_under_autocast_the_norm_stays_float32() -> None:
    torch.manual_seed(0)
    layer, x = spectral(nn.Linear(64, 32)), torch.randn(2, 64)
    wanted = layer.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        assert torch.equal(layer.norm(), wanted)


def test_evaluation_exports_and_computes_the_same(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    program = torch.export.export(layer.eval(), (x,)).module()
    torch.testing.assert_close(program(x), layer(x))


def test_the_gradient_in_training_is_the_numerical_one_and_has_no_gradient(case: tuple[nn.Module, Tensor]) -> None:
    layer, _ = case
    iterate_(layer)
    u, v, weight = layer.u, layer.v, layer.weight.detach()
    direction = torch.randn(weight.shape, dtype=torch.float64)

    def value(moved: Tensor) -> Tensor:  # u and v held fixed
        return (direction * moved / (u @ moved.flatten(1) @ v)).sum()

    (found,) = torch.autograd.grad((direction * layer.normalised()).sum(), layer.weight)
    step = 1e-6
    for place in [(0,) * weight.dim(), tuple(size - 1 for size in weight.shape)]:
        moved = torch.zeros_like(weight)
        moved[place] = step
        numerical = (value(weight + moved) - value(weight - moved)) / (2 * step)
        assert found[place].item() == pytest.approx(numerical.item(), rel=1e-6, abs=1e-8)
    (again,) = torch.autograd.grad((direction * layer.normalised()).square().sum(), layer.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        again.square().sum().backward()


@pytest.mark.parametrize("change", ["written", "replaced", "converted", "copied", "loaded", "vectors"])
def test_the_norm_of_an_iteration_is_used_only_for_the_weights_that_it_saw(
    case: tuple[nn.Module, Tensor], change: str
) -> None:
    layer, _ = case
    iterate_(layer)
    assert torch.equal(layer.norm(), layer.sigma)
    if change == "written":
        with torch.no_grad():
            layer.weight.mul_(2.0)
    elif change == "replaced":
        layer.weight = nn.Parameter(2.0 * layer.weight.detach())
    elif change == "converted":
        layer._apply(lambda tensor: 2.0 * tensor if tensor.shape == layer.weight.shape else tensor)
    elif change == "copied":
        layer = deepcopy(layer)
        with torch.no_grad():
            torch._foreach_lerp_([layer.weight], [3.0 * layer.weight], 0.5)  # as the moving average does
    elif change == "vectors":
        layer.load_state_dict({"u": 2.0 * layer.u, "v": layer.v}, strict=False)
    else:
        layer.load_state_dict(layer.state_dict() | {"weight": 2.0 * layer.weight.detach()})
    layer.train()
    torch.testing.assert_close(layer.normalised(), layer.weight / layer.norm(), rtol=1e-12, atol=0.0)
    assert layer.norm().item() == pytest.approx(2.0 * layer.sigma.item(), rel=1e-9)


def test_parameters_keep_their_names_and_a_meta_layer_its_shapes() -> None:
    layer = spectral(Conv3(3, 5))
    assert dict(layer.named_parameters()).keys() == {"weight", "bias"}
    with torch.device("meta"):
        planned = spectral(Conv3(3, 5))
    assert {k: v.shape for k, v in planned.state_dict().items()} == {k: v.shape for k, v in layer.state_dict().items()}


def test_a_layer_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="ConvTranspose2d"):
        spectral(nn.ConvTranspose2d(1, 1, 3))


def test_a_channels_last_kernel_has_the_norm_and_the_vectors_of_a_contiguous_one() -> None:
    torch.manual_seed(0)
    layer = spectral(Conv3(3, 5).double())
    last = deepcopy(layer).to(memory_format=torch.channels_last)
    last.v.copy_(layer.v)
    for _ in range(3):
        layer.iterate()
        last.iterate()
        for name in ("u", "v", "sigma"):
            torch.testing.assert_close(getattr(last, name), getattr(layer, name), rtol=0.0, atol=1e-12)
    for each in (layer, last):
        converge_(each)
        assert each.norm().item() == pytest.approx(largest(layer).item(), rel=1e-12)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    (slope,), (slope_last,) = (torch.autograd.grad(each(x).pow(2).sum(), [each.weight]) for each in (layer, last))
    torch.testing.assert_close(slope_last, slope, rtol=0.0, atol=1e-10)
