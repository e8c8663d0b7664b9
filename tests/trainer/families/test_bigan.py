"""BiGAN's nets and losses are those of Donahue et al. 2017, and its regressors those of the same paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer.families.arch import CodedLatent, Latent
from trainer.families.bigan.arch import BiganArch
from trainer.families.bigan.losses import deceiving, judge, regression_loss
from trainer.families.bigan.nets import FAMILY
from trainer.families.bigan.recipes import bigan, bigan_joint_lr, bigan_lr
from trainer.objective.losses import LOSSES
from trainer.objective.phases import Batch, Phase
from trainer.spec import Adam, JobSpec

UNIFORM, NORMAL = Latent(dim=5, distribution="uniform", low=-2.0, high=1.0), Latent(dim=5)
TRAININGS = ("bigan", "latent-regressor", "joint-latent-regressor")


def small(**fields: Any) -> BiganArch:
    return BiganArch(resolution=8, **{"latent": UNIFORM, "g_hidden": 16, "e_hidden": 16, "d_hidden": 16} | fields)


def phases(arch: BiganArch) -> dict[str, Phase]:
    spec = JobSpec(arch=arch, optimizers={name: Adam() for name in arch.players})
    return {phase.name: phase for phase in FAMILY.phases(spec)}


def make(arch: BiganArch, n: int = 12) -> tuple[dict[str, nn.Module], Batch]:
    torch.manual_seed(0)
    nets = {name: net.double() for name, net in FAMILY.build(arch).items()}
    z = FAMILY.latents(arch, n, torch.Generator().manual_seed(1)).double()
    return nets, Batch(torch.rand(n, 1, 8, 8, dtype=torch.float64), None, z, None, 0)


def gradients(loss: Tensor, net: nn.Module) -> list[Tensor]:
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(
            net.parameters(),
            torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, retain_graph=True),
            strict=True,
        )
    ]


def test_nets_have_two_layers_of_1024_no_bias_and_a_norm_without_parameters_on_the_second() -> None:
    nets = FAMILY.build(BiganArch())
    shapes = {name: {path: tuple(p.shape) for path, p in net.named_parameters()} for name, net in nets.items()}
    hidden = {"body.first.weight": (1024, 784), "body.second.weight": (1024, 1024)}
    assert shapes["G"] == hidden | {"body.first.weight": (1024, 50), "output.weight": (784, 1024)}
    assert shapes["E"] == hidden | {"output.weight": (50, 1024)}
    assert shapes["D"] == hidden | {"body.z.weight": (1024, 50), "output.weight": (1, 1024)}
    assert isinstance(nets["G"].body.activation, nn.ReLU)
    for name in ("E", "D"):
        assert nets[name].body.activation.negative_slope == 0.2
    weights = torch.cat([p.flatten() for net in nets.values() for p in net.parameters()])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)


def test_z_enters_d_linearly() -> None:
    nets, batch = make(small())
    seen: list[Tensor] = []
    nets["D"].body.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    one, other = batch.z, batch.z.flip(0)
    for z in (torch.zeros_like(one), one, other, one + 2.0 * other):
        nets["D"](batch.real, None, z)
    nothing, first, second, both = seen
    torch.testing.assert_close(both - nothing, (first - nothing) + 2.0 * (second - nothing))
    assert (first - nothing).abs().max() > 1e-3


@pytest.mark.parametrize("training", TRAININGS[1:])
def test_d_of_the_regressors_looks_at_images_alone(training: str) -> None:
    nets, batch = make(small(encoder_training=training))
    assert torch.equal(nets["D"](batch.real, None, batch.z), nets["D"](batch.real))


def test_codes_lie_in_the_priors_range() -> None:
    for latent, low, high in ((UNIFORM, -2.0, 1.0), (NORMAL, -torch.inf, torch.inf)):
        nets, batch = make(small(latent=latent))
        with torch.no_grad():
            nets["E"].output.weight.mul_(1e3)
        codes = nets["E"](batch.real)
        assert codes.shape == (12, 5)
        assert codes.min() >= low
        assert codes.max() <= high
        assert codes.std() > 0.5


def test_features_are_what_the_output_is_a_linear_map_of() -> None:
    nets, batch = make(small())
    for name in ("E", "D"):
        nets[name].eval()
    _, features = nets["E"](batch.real, features=True)
    torch.testing.assert_close(features @ nets["E"].output.weight.T, nets["E"](batch.real, logits=True))
    logits, features = nets["D"](batch.real, None, batch.z, features=True)
    torch.testing.assert_close((features @ nets["D"].output.weight.T).squeeze(1), logits)


def test_real_images_are_judged_with_their_codes_and_generated_ones_with_their_z() -> None:
    nets, batch = make(small())
    codes, fake = nets["E"](batch.real), nets["G"](batch.z)
    real_logits, fake_logits = judge(nets, batch, codes, fake)
    torch.testing.assert_close(real_logits, nets["D"](batch.real, None, codes))
    torch.testing.assert_close(fake_logits, nets["D"](fake, None, batch.z))


def test_g_and_e_minimise_the_mirrored_loss_of_d() -> None:
    real, fake = torch.randn(2, 50, dtype=torch.float64)
    d = {name: pair.d for name, pair in LOSSES.items()}

    def given(name: str) -> Tensor:
        return deceiving(LOSSES[name], real, fake)

    torch.testing.assert_close(given("minimax"), -d["minimax"](real, fake))  # V itself
    for name in ("non-saturating", "wasserstein", "least-squares", "relativistic"):
        torch.testing.assert_close(given(name), d[name](fake, real))  # real and fake exchanged
    torch.testing.assert_close(given("hinge"), real.mean() - fake.mean())


def test_the_regression_of_a_uniform_z_is_the_cross_entropy_of_its_place_in_the_range() -> None:
    nets, batch = make(small())
    fake = nets["G"](batch.z)
    loss = regression_loss(nets, batch, fake, UNIFORM).total
    codes = nets["E"](fake)
    place, guess = (batch.z + 2.0) / 3.0, (codes + 2.0) / 3.0
    naive = -(place * guess.log() + (1 - place) * (1 - guess).log()).sum() / (12 * 5)
    torch.testing.assert_close(loss, naive)


def test_the_regression_of_a_normal_z_is_its_negative_log_density_around_the_code() -> None:
    nets, batch = make(small(latent=NORMAL))
    fake = nets["G"](batch.z)
    loss = regression_loss(nets, batch, fake, NORMAL).total
    density = torch.distributions.Normal(nets["E"](fake), 1.0).log_prob(batch.z)
    constant = 0.5 * torch.log(torch.tensor(2.0 * torch.pi, dtype=torch.float64))
    torch.testing.assert_close(loss, -density.mean() - constant)


def test_the_regression_has_its_minimum_at_z() -> None:
    class Exact(nn.Module):
        def __init__(self, logits: Tensor) -> None:
            super().__init__()
            self.logits = nn.Parameter(logits)

        def forward(self, x: Tensor, *, logits: bool) -> Tensor:
            return self.logits

    for latent, inverse in ((UNIFORM, lambda z: ((z + 2.0) / 3.0).logit()), (NORMAL, lambda z: z)):
        nets, batch = make(small(latent=latent))
        exact = Exact(inverse(batch.z))
        regression_loss({**nets, "E": exact}, batch, batch.real, latent).total.backward()
        assert exact.logits.grad is not None
        assert exact.logits.grad.abs().max() < 1e-12


def test_e_of_the_latent_regressor_has_no_part_in_gs_loss() -> None:
    arch = small(encoder_training="latent-regressor")
    nets, batch = make(arch)
    found = phases(arch)
    assert {name: phase.players for name, phase in found.items()} == {"D": ("D",), "G": ("G",), "E": ("E",)}
    assert not any(g.any() for g in gradients(found["G"].loss(nets, batch).total, nets["E"]))
    assert not any(g.any() for g in gradients(found["E"].loss(nets, batch).total, nets["G"]))


def test_the_joint_regressor_adds_the_regression_to_gs_loss_with_its_weight() -> None:
    arch = small(encoder_training="joint-latent-regressor", regressor_weight=0.7)
    nets, batch = make(arch)
    alone = phases(small(encoder_training="latent-regressor"))["G"].loss(nets, batch).total
    regression = regression_loss(nets, batch, nets["G"](batch.z), UNIFORM).total
    joint = phases(arch)["GE"]
    assert joint.players == ("G", "E")
    total = joint.loss(nets, batch).total
    torch.testing.assert_close(total, alone + 0.7 * regression)
    for name in ("G", "E"):
        expected = gradients(alone + 0.7 * regression, nets[name])
        torch.testing.assert_close(gradients(total, nets[name]), expected)


@pytest.mark.parametrize("training", TRAININGS)
def test_each_update_calls_a_stepping_player_once_so_that_its_batch_norm_counts_each_batch_once(training: str) -> None:
    arch = small(encoder_training=training)
    for phase in phases(arch).values():
        nets, batch = make(arch)
        phase.loss(nets, batch)
        for name in set(phase.players) - {"D"}:
            assert int(nets[name].body.norm.num_batches_tracked) == 1


def test_a_latent_with_codes_is_refused() -> None:
    with pytest.raises(ValueError, match="use a latent without"):
        BiganArch(latent=CodedLatent())


def test_the_recipe_has_the_papers_numbers() -> None:
    spec = bigan()
    assert spec.arch == BiganArch()
    assert spec.arch.latent == Latent(dim=50, distribution="uniform", low=-1.0, high=1.0)
    assert spec.train.images == 400 * 50_000
    assert spec.train.batch == 128
    for adam in spec.optimizers.values():
        assert isinstance(adam, Adam)
        assert (adam.lr, adam.beta1) == (2e-4, 0.5)
        assert adam.weight_decay == 2 * 2.5e-5  # their losses are halves of ours
        factors = [adam.schedule.factor(epoch * 50_000, spec.train.images, 0) for epoch in (0, 200, 300, 400)]
        assert factors == pytest.approx([1.0, 1.0, 0.1, 0.01])


def test_the_baselines_differ_in_what_trains_e_and_in_the_loss_that_the_authors_do_not_halve() -> None:
    for recipe, training in ((bigan_lr, "latent-regressor"), (bigan_joint_lr, "joint-latent-regressor")):
        spec = recipe()
        assert spec.arch == BiganArch(encoder_training=training)
        decays = {name: adam.weight_decay for name, adam in spec.optimizers.items()}
        assert decays == {"G": 2.5e-5, "E": 2.5e-5, "D": 5e-5}
        assert spec.replace(name="bigan", arch=BiganArch(), optimizers=bigan().optimizers) == bigan()
