"""What every loss and penalty of the spec promises, whatever its formula."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from trainer.families.dcgan.arch import DcganArch
from trainer.families.table import family
from trainer.objective.losses import LOSSES
from trainer.objective.penalties import corrections, projections, terms
from trainer.objective.phases import Batch, adversarial
from trainer.spec import Adam, Data, JobSpec, Objective
from trainer.spec.sections import Penalty

PENALTIES = [kind() for kind in get_args(get_args(Penalty)[0])]
each_loss = pytest.mark.parametrize("loss", LOSSES)
each_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: penalty.kind)


def make_spec(**objective: Any) -> JobSpec:
    arch = DcganArch(resolution=8, g_width=4, d_width=4, classes=3, d_norm="layer")
    return JobSpec(
        arch=arch, data=Data(url="data/any"), optimizers={"G": Adam(), "D": Adam()}, objective=Objective(**objective)
    )


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    real, z = torch.randn(4, 1, 8, 8, generator=generator), torch.randn(4, 100, generator=generator)
    return Batch(real, torch.tensor([0, 1, 2, 0]), z, torch.tensor([2, 1, 0, 0]), 0)


@each_loss
def test_better_decisions_lower_ds_loss_and_fooling_lowers_gs(loss: Any) -> None:
    pair = LOSSES[loss]
    logits = torch.tensor([0.0, 0.25, 0.5], dtype=torch.float64)
    assert pair.d(logits + 0.3, logits) < pair.d(logits, logits) < pair.d(logits - 0.3, logits)
    assert pair.g(logits + 0.3, logits) < pair.g(logits, logits) < pair.g(logits - 0.3, logits)


@each_loss
def test_losses_are_scalars_of_the_logits_type_and_do_not_depend_on_the_order(loss: Any) -> None:
    pair = LOSSES[loss]
    for dtype in (torch.float32, torch.float64):
        real, fake = torch.randn(5).to(dtype), torch.randn(5).to(dtype)
        assert pair.d(real, fake).shape == pair.g(fake, real).shape == ()
        assert pair.d(real, fake).dtype == pair.g(fake, real).dtype == dtype
        order = torch.randperm(5)  # pairs stay pairs
        torch.testing.assert_close(pair.d(real[order], fake[order]), pair.d(real, fake))


@each_penalty
def test_every_penalty_of_the_spec_is_applied_somewhere(penalty: Any) -> None:
    objective = Objective(penalties=(penalty,))
    assert len(terms(objective)) + len(projections(objective)) + len(corrections(objective)) == 1


@each_penalty
def test_no_penalty_waits_for_the_device(penalty: Any) -> None:
    """On the meta device `.item()`, `bool(tensor)` and the like raise."""
    spec = make_spec(penalties=(penalty,))
    with torch.device("meta"):
        nets = family("dcgan").build(spec.arch)
    cpu = make_batch()
    assert cpu.labels is not None
    assert cpu.fake_labels is not None
    batch = Batch(cpu.real.to("meta"), cpu.labels.to("meta"), cpu.z.to("meta"), cpu.fake_labels.to("meta"), 0)
    d, g = adversarial(spec)
    d.loss(nets, batch).total.backward()
    for project in d.after_update:
        project(nets["D"])
    for correct in g.before_update.values():
        correct(nets["G"])


@each_loss
@each_penalty
def test_every_loss_works_with_every_penalty_on_a_conditional_d(loss: Any, penalty: Any) -> None:
    spec = make_spec(loss=loss, penalties=(penalty,))
    torch.manual_seed(0)
    nets = family("dcgan").build(spec.arch)
    before = [parameter.clone() for parameter in nets["D"].parameters()]
    d, g = adversarial(spec)
    result = d.loss(nets, make_batch())
    result.total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in nets["D"].parameters())
    assert all(p.grad is None for p in nets["G"].parameters())
    torch.optim.Adam(nets["D"].parameters()).step()
    for project in d.after_update:
        project(nets["D"])
    assert any(not torch.equal(old, new) for old, new in zip(before, nets["D"].parameters(), strict=True))
    assert torch.isfinite(g.loss(nets, make_batch()).total)
