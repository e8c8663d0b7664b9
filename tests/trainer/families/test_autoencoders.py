"""The autoencoder is BiGAN's baseline, and the VAE's loss is −ELBO."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from trainer.families.ae.arch import AeArch
from trainer.families.ae.nets import FAMILY as AE
from trainer.families.ae.recipes import ae, ae_l1
from trainer.families.arch import CodedLatent, Latent
from trainer.families.vae.arch import VaeArch
from trainer.families.vae.nets import FAMILY as VAE
from trainer.families.vae.recipes import vae
from trainer.objective.phases import Batch
from trainer.spec import Adam, JobSpec, SpecError, with_overrides

SMALL_VAE = VaeArch(resolution=8, g_hidden=16, e_hidden=16, latent=Latent(dim=3))


def linears(net: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]


def images(n: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def spec_of(base: JobSpec, *changes: str) -> JobSpec:
    small = ["arch.resolution=8", "arch.g_hidden=16", "arch.e_hidden=16", "arch.latent.dim=3"]
    return with_overrides(base, [*small, *changes])


def loss_of(spec: JobSpec, nets: dict[str, nn.Module], real: torch.Tensor):
    family = {"ae": AE, "vae": VAE}[spec.arch.family]
    (phase,) = family.phases(spec)
    return phase.loss(nets, Batch(real, None, torch.zeros(len(real), 3), None, 0))


def test_the_autoencoder_is_bigans_e_and_g_with_parameter_free_norm_on_the_second_layer() -> None:
    nets = AE.build(AeArch())
    assert linears(nets["E"]) == [(784, 1024), (1024, 1024), (1024, 50)]
    assert linears(nets["G"]) == [(50, 1024), (1024, 1024), (1024, 784)]
    norms = [m for net in nets.values() for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert [norm.num_features for norm in norms] == [1024, 1024, 50]  # E's, G's, and that of the codes
    assert not any(norm.affine for norm in norms)


def test_the_recipe_has_the_papers_numbers() -> None:
    spec = ae()
    g = spec.optimizers["G"]
    assert isinstance(g, Adam)
    assert (g.lr, g.beta1, g.weight_decay, spec.train.batch) == (2e-4, 0.5, 2.5e-5, 128)
    half, full = 200 * 60_000, 400 * 60_000
    assert [round(g.schedule.factor(shown, full, 0), 4) for shown in (0, half, (half + full) // 2, full)] == [
        1,
        1,
        0.1,
        0.01,
    ]
    assert (ae_l1().arch.reconstruction, spec.arch.reconstruction) == ("l1", "l2")


@pytest.mark.parametrize(("kind", "distance"), [("l2", lambda d: d.square()), ("l1", lambda d: d.abs())])
def test_the_autoencoders_loss_is_the_distance_of_its_output(kind, distance) -> None:
    spec = spec_of(ae(), f"arch.reconstruction={kind}")
    nets, real = AE.build(spec.arch), images()
    loss = loss_of(spec, nets, real).total
    expected = distance(nets["G"](nets["E"](real)) - real).sum() / len(real)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("latent", "mean", "variance"),
    [(Latent(dim=5), 0.0, 1.0), (Latent(dim=5, distribution="uniform", low=0.0, high=2.0), 1.0, 4 / 12)],
)
def test_codes_have_the_priors_mean_and_variance_in_every_dimension(latent, mean, variance) -> None:
    e = AE.build(AeArch(resolution=8, e_hidden=16, g_hidden=16, latent=latent))["E"]
    nn.init.normal_(e.codes[0].weight)  # not so small that the norm's eps counts
    codes = e.train()(images(500))
    torch.testing.assert_close(codes.mean(dim=0), torch.full((5,), mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(codes.var(dim=0, correction=0), torch.full((5,), variance), atol=0, rtol=0.01)


def test_features_are_the_layer_before_the_codes() -> None:
    e = AE.build(AeArch(resolution=8, e_hidden=16, g_hidden=16))["E"].eval()
    codes, features = e(images(), features=True)
    assert features.shape == (6, 16)
    torch.testing.assert_close(codes, e.codes(features))
    torch.testing.assert_close(codes, e(images()))


def test_the_vaes_loss_is_minus_the_elbo_of_torch_distributions() -> None:
    spec = spec_of(vae(), "arch.binarise=false")
    nets, real = VAE.build(spec.arch), images()
    torch.manual_seed(7)
    loss = loss_of(spec, nets, real)
    mean, log_variance = nets["E"](real, moments=True)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    torch.manual_seed(7)
    z = posterior.rsample()
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1).mean()
    probabilities = Bernoulli(probs=nets["G"](z), validate_args=False)
    elbo = probabilities.log_prob(real).sum(dim=(1, 2, 3)).mean() - divergence
    torch.testing.assert_close(loss.total, -elbo)
    torch.testing.assert_close(loss.metrics["elbo"], elbo.detach())
    torch.testing.assert_close(loss.metrics["E/kl"], divergence.detach())
    torch.testing.assert_close(loss.metrics["G/reconstruction"], -(elbo + divergence).detach())


def test_the_encoder_gives_the_posteriors_mean() -> None:
    e = VAE.build(SMALL_VAE)["E"].eval()
    mean, log_variance = e(images(), moments=True)
    assert torch.equal(e(images()), mean)
    assert log_variance.shape == mean.shape == (6, 3)


def test_binarised_pixels_are_drawn_anew_with_the_grey_value_as_probability() -> None:
    spec = spec_of(vae())
    nets = VAE.build(spec.arch)
    seen: list[torch.Tensor] = []
    nets["E"].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    real = images(2).expand(2, 1, 8, 8).repeat(500, 1, 1, 1)
    real[:, :, 0, 0], real[:, :, 0, 1] = 0.0, 1.0
    for _ in range(2):
        loss_of(spec, nets, real)
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(seen[0], seen[1])
    drawn = torch.cat(seen)[::2].mean(dim=0)
    torch.testing.assert_close(drawn, real[0], atol=0.07, rtol=0)  # 1000 draws: 4 standard errors
    assert (drawn[0, 0, 0].item(), drawn[0, 0, 1].item()) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("base", "changes", "words"),
    [
        (vae, ["arch.latent.distribution=uniform"], "arch.*latent.*uniform.*use normal"),
        (vae, ["objective.loss=hinge"], "objective.*has no discriminator"),
        (ae, ["arch.classes=10"], "arch.classes.*knows no labels"),
        (ae, ["arch.resolution=24"], "arch.*resolution.*24.*use 8, 16, 28"),
    ],
)
def test_what_an_autoencoder_is_not_is_refused_with_the_field_and_the_fix(base, changes, words) -> None:
    with pytest.raises(SpecError) as caught:
        with_overrides(base(), changes)
    assert re.search(words, str(caught.value), re.DOTALL), caught.value


@pytest.mark.parametrize("arch", [AeArch, VaeArch])
def test_a_latent_with_codes_is_refused(arch) -> None:
    with pytest.raises(ValueError, match="use a latent without"):
        arch(latent=CodedLatent(dim=4))
