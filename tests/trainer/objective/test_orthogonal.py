"""Orthogonal regularisation: its value by naive loops, its gradient by autograd and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.families.table import family, recipes
from trainer.objective import orthogonal
from trainer.objective.orthogonal import matrices, orthogonality, regularise_
from trainer.objective.phases import adversarial
from trainer.spec import SpecError, with_overrides

F64 = torch.float64


def by_loops(w_OF: Tensor) -> float:
    """Eq. 3: the squared inner products of each two different rows."""
    rows = w_OF.tolist()
    products = [
        sum(x * y for x, y in zip(a, b, strict=True)) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j
    ]
    return sum(product**2 for product in products)


def penalty(w_OF: Tensor) -> Tensor:
    """The formula, for autograd."""
    gram = w_OF @ w_OF.T
    return (gram * (1 - torch.eye(len(gram), dtype=gram.dtype))).square().sum()


class Net(nn.Module):
    """A matrix of each kind: wide, tall, two convolutions of one shape, a transposed one, an embedding that is left out."""

    unpenalised = ("shared.weight",)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tall, self.shared = nn.Linear(3, 7), nn.Embedding(4, 5)
        self.convs = nn.ModuleList(nn.Conv2d(3, 4, 3) for _ in range(2))
        self.up = nn.ConvTranspose2d(6, 2, 4, bias=False)
        self.gain = nn.Parameter(torch.ones(5))
        self.to(F64)

    def rows(self) -> list[Tensor]:
        """What is regularised, as matrices with outputs as rows; differentiable."""
        return [
            self.tall.weight,
            *(conv.weight.flatten(1) for conv in self.convs),
            self.up.weight.transpose(0, 1).flatten(1),
        ]


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5), (1, 4)])
def test_value_and_gradient_are_those_of_the_formula(shape: tuple[int, int]) -> None:
    w = torch.randn(2, *shape, dtype=F64, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    value, gradient = orthogonality(w.detach())
    assert value.item() == pytest.approx(sum(by_loops(matrix) for matrix in w), rel=1e-12, abs=1e-12)
    (expected,) = torch.autograd.grad(penalty(w[0]) + penalty(w[1]), w)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_the_slope_of_the_value() -> None:
    w = torch.randn(1, 4, 6, dtype=F64, generator=torch.Generator().manual_seed(2))
    direction = torch.randn(1, 4, 6, dtype=F64, generator=torch.Generator().manual_seed(3))
    step = 1e-5
    slope = (orthogonality(w + step * direction)[0] - orthogonality(w - step * direction)[0]) / (2 * step)
    assert slope.item() == pytest.approx((orthogonality(w)[1] * direction).sum().item(), rel=1e-8)


def test_orthogonal_rows_cost_nothing_whatever_their_length() -> None:
    rows, _ = torch.linalg.qr(torch.randn(9, 4, dtype=F64))
    value, gradient = orthogonality((rows.T * torch.tensor([[1.0], [5.0], [0.1], [2.0]], dtype=F64))[None])
    assert value.item() == pytest.approx(0.0, abs=1e-20)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("batched", [2**20, 0])
def test_it_adds_to_the_gradients_of_all_matrices_but_those_left_out(
    batched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orthogonal, "BATCHED", batched)
    net, there = Net(), Net()
    total = 0.01 * torch.stack([penalty(matrix) for matrix in there.rows()]).sum()
    total.backward()
    net.tall.weight.grad = torch.ones_like(net.tall.weight)
    value = regularise_(net, 0.01)
    assert value.item() == pytest.approx(total.item() / 0.01)
    for name, parameter in net.named_parameters():
        expected = there.get_parameter(name).grad
        if expected is None:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None
            before = 1.0 if name == "tall.weight" else 0.0
            torch.testing.assert_close(parameter.grad, expected + before, rtol=1e-10, atol=1e-12)


def test_a_name_that_is_no_parameter_is_refused() -> None:
    net = Net()
    assert list(matrices(net)) == ["tall.weight", "convs.0.weight", "convs.1.weight", "up.weight"]
    net.unpenalised = ("embedding.weight",)
    with pytest.raises(ValueError, match=r"Net\.unpenalised names embedding\.weight, which is no parameter"):
        matrices(net)


@pytest.mark.parametrize("name", ["dcgan-digits", "infogan-digits", "bigan-digits", "gan-digits"])
def test_gs_phase_carries_it_in_every_adversarial_family(name: str) -> None:
    spec = with_overrides(recipes()[name](), ["objective.penalties=[{kind: orthogonal, weight: 0.5}]"])
    carrying = [phase for phase in family(spec.arch.family).phases(spec) if phase.before_update]
    assert [(set(phase.before_update), "G" in phase.players) for phase in carrying] == [({"G"}, True)]
    net = nn.Linear(2, 2, bias=False)
    metrics = carrying[0].before_update["G"](net)
    assert metrics["G/orthogonal"].item() == pytest.approx(by_loops(net.weight), rel=1e-5)
    assert net.weight.grad is not None
    assert not adversarial(recipes()[name]())[1].before_update


def test_families_without_a_discriminator_refuse_it() -> None:
    with pytest.raises(SpecError, match="no discriminator"):
        with_overrides(recipes()["vae-digits"](), ["objective.penalties=[{kind: orthogonal}]"])
