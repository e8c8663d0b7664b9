"""Standing statistics are those of the weights and of the latents that are sampled."""

from __future__ import annotations

import copy

import pytest
import torch
from engine_doubles import dcgan_spec, gan_spec
from scipy.stats import truncnorm
from torch import nn

from trainer.engine.random import latents
from trainer.engine.sampling import sample
from trainer.engine.standing import batch_of, described, standing, statistics
from trainer.families.table import family
from trainer.nets import crossnorm
from trainer.nets.norm import CrossReplicaNorm
from trainer.spec import with_overrides

FAMILY = family("dcgan")


class Affine(nn.Module):
    """3 z + 5 before a norm: known moments."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.scale, self.norm = nn.Parameter(torch.tensor(3.0)), norm

    def forward(self, z, labels=None):
        return self.norm(self.scale * z + 5.0)


def spec_of(*changes: str):
    return dcgan_spec("evaluation.standing_batches=20", "train.batch=400", *changes)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(8), CrossReplicaNorm(8)], ids=["batch", "cross-replica"])
@pytest.mark.parametrize("truncation", [None, 1.0, 0.25])
def test_they_are_the_moments_of_the_truncated_prior(norm, truncation) -> None:
    net = standing(FAMILY, spec_of(), Affine(norm), truncation)
    expected = 1.0 if truncation is None else truncnorm(-truncation, truncation).var()
    found = statistics(net)
    assert list(found) == ["norm.running_mean", "norm.running_var"]
    assert found["norm.running_var"].mean().item() == pytest.approx(9.0 * expected, rel=0.03)
    assert found["norm.running_mean"].mean().item() == pytest.approx(5.0, abs=0.1)


def test_without_noise_they_are_those_of_the_labels_alone() -> None:
    found = statistics(standing(FAMILY, spec_of(), Affine(nn.BatchNorm1d(8)), 0.0))
    assert torch.equal(found["norm.running_mean"], torch.full((8,), 5.0))
    assert torch.equal(found["norm.running_var"], torch.zeros(8))


def test_they_are_the_plain_average_over_the_batches() -> None:
    spec = dcgan_spec("evaluation.standing_batches=3")
    found = statistics(standing(FAMILY, spec, Affine(nn.BatchNorm1d(8))))
    drawn = [
        3.0 * latents(FAMILY, spec.arch, 8, slice(0, 8), seed=spec.train.seed, phase="standing", number=k)[0] + 5.0
        for k in range(3)
    ]
    torch.testing.assert_close(found["norm.running_mean"], torch.stack([z.mean(0) for z in drawn]).mean(0))
    torch.testing.assert_close(found["norm.running_var"], torch.stack([z.var(0) for z in drawn]).mean(0))


def test_the_generator_stays_as_it_is_and_the_result_is_the_same_each_time() -> None:
    spec = dcgan_spec("evaluation.standing_batches=2")
    generator = FAMILY.build(spec.arch)["G"].train()
    before = copy.deepcopy(generator.state_dict())
    once, again = (standing(FAMILY, spec, generator, 0.5) for _ in range(2))
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.state_dict().items())
    assert generator.training
    assert not any(part.training for part in once.modules())
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in once.state_dict().items())
    assert [part.momentum for part in once.modules() if isinstance(part, nn.BatchNorm2d)] == [0.1]
    pictures = [sample(FAMILY, spec.arch, net, n=4, seed=1) for net in (generator, once)]
    assert (pictures[0] != pictures[1]).any()


def test_one_rank_may_take_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossnorm, "replicas", lambda: 4)  # an exchange would fail: there is no process group
    assert standing(FAMILY, spec_of(), Affine(CrossReplicaNorm(8))) is not None


def test_who_has_no_batch_norm_or_asks_for_none_is_sampled_as_it_is() -> None:
    plain, normed = nn.Linear(8, 8), Affine(nn.BatchNorm1d(8))
    assert standing(FAMILY, spec_of(), plain) is plain
    assert standing(family("gan"), gan_spec(), normed) is normed
    assert described(gan_spec(), normed) == described(spec_of(), plain) == "running"
    assert described(spec_of(), normed) == "standing, 20 batches of 400"


def test_a_batch_is_what_a_workers_device_holds_in_gs_phase() -> None:
    sizes = [[], ["train.micro_batch={G: 100}"], ["resources.workers=4"], ["train.batch=4"]]
    assert [batch_of(with_overrides(spec_of(), changes)) for changes in sizes] == [400, 100, 100, 4]
