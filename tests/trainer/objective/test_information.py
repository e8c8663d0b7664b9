"""The bound L_I against torch.distributions and what it must be at its ends."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from trainer.families.arch import CodedLatent
from trainer.objective.information import information

LATENT = CodedLatent(dim=3, categorical=(4, 2), continuous=2)
COLUMNS = 4 + 2 + 1 + 1


def codes(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Values of c1 and c2, and the codes' columns of z with c3 and c4."""
    source = torch.Generator().manual_seed(seed)
    c1, c2 = torch.randint(4, (n,), generator=source), torch.randint(2, (n,), generator=source)
    rest = torch.rand(n, 2, generator=source, dtype=torch.float64) * 2 - 1
    return c1, c2, torch.cat([torch.eye(4).double()[c1], torch.eye(2).double()[c2], rest], dim=1)


def posterior(n: int) -> Tensor:
    return torch.randn(n, COLUMNS, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def test_the_bound_is_the_entropy_plus_the_mean_log_likelihood_of_each_code() -> None:
    c1, c2, drawn = codes(50)
    out = posterior(50)
    found = information(LATENT.codes, drawn, out, sigma=0.7)
    one, two = Categorical(logits=out[:, :4]), Categorical(logits=out[:, 4:6])
    expected = log(4) + one.log_prob(c1).mean() + log(2) + two.log_prob(c2).mean()
    assert found.categorical is not None
    torch.testing.assert_close(found.categorical, expected)
    likelihood = Normal(out[:, 6:], 0.7).log_prob(drawn[:, 6:]).sum(dim=1).mean()
    assert found.continuous is not None
    torch.testing.assert_close(found.continuous, likelihood)
    torch.testing.assert_close(found.weighted(2.0, 0.3), 2.0 * expected + 0.3 * likelihood)
    assert {name: round(value.item(), 9) for name, value in found.metrics().items()} == {
        "Q/information": round(expected.item(), 9),
        "Q/continuous_log_likelihood": round(likelihood.item(), 9),
    }


def test_it_is_0_for_a_q_that_knows_nothing_and_the_entropy_for_one_that_knows_all() -> None:
    _, _, drawn = codes(20)
    nothing = information(LATENT.codes, drawn, torch.zeros_like(drawn), 1.0).categorical
    everything = information(LATENT.codes, drawn, drawn * 100.0, 1.0).categorical
    assert nothing is not None
    assert everything is not None
    assert nothing.item() == pytest.approx(0.0, abs=1e-12)
    assert everything.item() == pytest.approx(log(4) + log(2))


@pytest.mark.parametrize(
    ("latent", "names"),
    [
        (CodedLatent(dim=1, categorical=(3,), continuous=0), {"Q/information"}),
        (CodedLatent(dim=1, categorical=(), continuous=3), {"Q/continuous_log_likelihood"}),
    ],
)
def test_a_kind_of_code_that_is_not_there_has_no_part(latent: CodedLatent, names: set[str]) -> None:
    out = torch.randn(5, 3, requires_grad=True)
    found = information(latent.codes, torch.eye(3)[torch.tensor([0, 1, 2, 0, 1])], out, 1.0)
    assert set(found.metrics()) == names
    found.weighted(1.0, 1.0).backward()
    assert out.grad is not None
    assert (out.grad != 0).all()


def test_its_gradient_is_that_of_its_value() -> None:
    _, _, drawn = codes(3)
    out = posterior(3).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda q: information(LATENT.codes, drawn, q, 0.5).weighted(1.0, 0.1), (out,))
