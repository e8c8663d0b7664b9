"""The guidelines of Radford et al. 2016 (section 3), each checked on the built nets, and the paper's sizes."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from trainer.families.dcgan.arch import DcganArch
from trainer.families.dcgan.nets import FAMILY
from trainer.families.dcgan.recipes import RECIPES, dcgan_unconditional
from trainer.families.r3gan.recipes import RECIPES as R3GAN
from trainer.nets.norm import uses_batch_statistics

RESOLUTIONS = (8, 16, 28, 32, 64, 128)
ARCHS = [
    DcganArch(resolution=resolution, classes=classes, g_width=8, d_width=8)
    for resolution, classes in product(RESOLUTIONS, (0, 10))
]
SEQUENCE = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)

each_arch = pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: f"{arch.resolution}px-{arch.classes}")


def layers(net: nn.Module) -> list[nn.Module]:
    """The leaves that compute, in order. Fails on a kind that the guidelines don't speak of."""
    leaves = [module for module in net.modules() if not list(module.children())]
    assert all(isinstance(leaf, SEQUENCE) for leaf in leaves), leaves
    return leaves


@each_arch
def test_guideline_1_strided_and_fractionally_strided_convolutions_instead_of_pooling(arch: DcganArch) -> None:
    nets = FAMILY.build(arch)
    g = [layer for layer in layers(nets["G"]) if isinstance(layer, nn.ConvTranspose2d)]
    d = [layer for layer in layers(nets["D"]) if isinstance(layer, nn.Conv2d)]
    assert all(layer.stride == (2, 2) for layer in (*g[1:], *d[:-1]))
    assert not any(isinstance(layer, nn.Conv2d) for layer in layers(nets["G"]))


@each_arch
def test_guideline_2_batch_norm_in_both_nets_but_not_on_gs_output_and_ds_input(arch: DcganArch) -> None:
    g, d = layers(FAMILY.build(arch)["G"]), layers(FAMILY.build(arch)["D"])
    followed = [isinstance(g[i + 1], nn.BatchNorm2d) for i in range(len(g)) if isinstance(g[i], nn.ConvTranspose2d)]
    assert followed == [True] * (len(followed) - 1) + [False]
    followed = [isinstance((*d, None)[i + 1], nn.BatchNorm2d) for i in range(len(d)) if isinstance(d[i], nn.Conv2d)]
    assert followed[0] is False  # input
    assert all(followed[1:-1])
    assert followed[-1] is False  # the logit


@each_arch
def test_guideline_3_no_fully_connected_hidden_layers(arch: DcganArch) -> None:
    nets = FAMILY.build(arch)
    assert not any(isinstance(module, nn.Linear) for net in nets.values() for module in net.modules())
    # What stands for a matrix product is G's projection of z and D's logit, at the nets' ends.
    base = 7 if arch.resolution == 28 else 4
    g = [layer for layer in layers(nets["G"]) if isinstance(layer, nn.ConvTranspose2d)]
    d = [layer for layer in layers(nets["D"]) if isinstance(layer, nn.Conv2d)]
    assert g[0].kernel_size == d[-1].kernel_size == (base, base)
    assert all(layer.kernel_size == (arch.kernel, arch.kernel) for layer in (*g[1:], *d[:-1]))


@each_arch
def test_guideline_4_relu_in_g_and_tanh_on_its_output(arch: DcganArch) -> None:
    found = [layer for layer in layers(FAMILY.build(arch)["G"]) if isinstance(layer, SEQUENCE[3:])]
    assert all(isinstance(layer, nn.ReLU) for layer in found[:-1])
    assert isinstance(found[-1], nn.Tanh)


@each_arch
def test_guideline_5_leaky_relu_02_in_all_of_d(arch: DcganArch) -> None:
    d = layers(FAMILY.build(arch)["D"])
    found = [layer for layer in d if isinstance(layer, SEQUENCE[3:])]
    assert all(isinstance(layer, nn.LeakyReLU) and layer.negative_slope == 0.2 for layer in found)
    assert len(found) == sum(isinstance(layer, nn.Conv2d) for layer in d) - 1  # after each but the logit


def test_initial_weights_are_n_0_002() -> None:
    torch.manual_seed(0)
    nets = FAMILY.build(DcganArch(resolution=32))
    for net in nets.values():
        weights = torch.cat(
            [m.weight.flatten() for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        )
        assert weights.std().item() == pytest.approx(0.02, rel=0.01)
        scales = torch.cat([m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
        assert scales.mean().item() == pytest.approx(1.0, abs=0.005)
        assert scales.std().item() == pytest.approx(0.02, rel=0.2)


def test_g_at_64_px_has_the_papers_feature_maps() -> None:
    """Figure 1: 100 → 1024 at 4 px → 512 → 256 → 128 → 3 at 64 px."""
    with torch.device("meta"):
        nets = FAMILY.build(DcganArch(resolution=64, channels=3, g_width=128, d_width=128))
    g = [layer for layer in layers(nets["G"]) if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.in_channels for layer in g] + [g[-1].out_channels] == [100, 1024, 512, 256, 128, 3]
    d = [layer for layer in layers(nets["D"]) if isinstance(layer, nn.Conv2d)]
    assert [layer.in_channels for layer in d] + [d[-1].out_channels] == [3, 128, 256, 512, 1024, 1]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_maps_double_from_the_base_to_the_resolution(resolution: int) -> None:
    arch = DcganArch(resolution=resolution, g_width=4, d_width=4, latent=DcganArch().latent.replace(dim=5))
    g = FAMILY.build(arch)["G"]
    sizes: list[int] = []
    for layer in g.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
    g(torch.zeros(2, 5))
    assert sizes[0] == (7 if resolution == 28 else 4)
    assert all(after == 2 * before for before, after in pairwise(sizes))
    assert sizes[-1] == resolution


@pytest.mark.parametrize("resolution", [9, 12, 30, 96, 256, 7])
def test_impossible_resolutions_are_refused(resolution: int) -> None:
    with pytest.raises(ValidationError):
        DcganArch(resolution=resolution)


def test_max_width_bounds_every_layer() -> None:
    nets = FAMILY.build(DcganArch(resolution=64, g_width=16, d_width=16, max_width=32))
    convolutions = [m for net in nets.values() for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert max(layer.out_channels for layer in convolutions) == 32


def test_labels_join_every_layers_input_as_maps() -> None:
    """As the authors' MNIST code does: each convolution's input has one map more per class."""
    plain, conditional = (FAMILY.build(DcganArch(resolution=28, classes=classes)) for classes in (0, 10))
    for name in ("G", "D"):
        without = [m.in_channels for m in plain[name].modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        having = [m.in_channels for m in conditional[name].modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert having == [inputs + 10 for inputs in without]


@pytest.mark.parametrize(("norm", "expected"), [("layer", nn.GroupNorm), ("none", nn.Identity)])
def test_d_without_batch_norm_mixes_no_samples(norm: str, expected: type[nn.Module]) -> None:
    d = FAMILY.build(DcganArch(resolution=16, d_norm=norm, d_width=4))["D"]
    assert any(isinstance(module, expected) for module in d.modules())
    assert not uses_batch_statistics(d)


def test_channels_last_survives_the_forward() -> None:
    arch = DcganArch(resolution=16, g_width=8, d_width=8, channels=3)
    nets = {name: net.to(memory_format=torch.channels_last) for name, net in FAMILY.build(arch).items()}
    images = nets["G"](torch.randn(4, 100))
    assert images.is_contiguous(memory_format=torch.channels_last)
    hidden = nets["D"].stages[0](images)
    assert hidden.is_contiguous(memory_format=torch.channels_last)


def test_features_are_every_stages_maps_and_end_in_the_logits() -> None:
    torch.manual_seed(0)
    d = FAMILY.build(DcganArch(resolution=28, classes=10, d_width=8))["D"].eval()
    images, labels = torch.randn(3, 1, 28, 28), torch.tensor([0, 4, 9])
    maps = d.features(images, labels)
    assert [tuple(found.shape[1:]) for found in maps] == [(8, 14, 14), (16, 7, 7), (1, 1, 1)]
    assert torch.equal(maps[-1].flatten(), d(images, labels))
    hooked: list[torch.Tensor] = []
    for module in d.modules():
        if isinstance(module, nn.LeakyReLU):
            module.register_forward_hook(lambda _, __, output: hooked.append(output))
    assert all(torch.equal(a, b) for a, b in zip(d.features(images, labels), hooked, strict=False))
    assert len(hooked) == 2


def test_wgans_generator_without_batch_norm_has_a_constant_width() -> None:
    nets = FAMILY.build(DcganArch(resolution=32, g_kind="conv-no-norm", g_width=16, d_width=16))
    convolutions = [module for module in nets["G"].modules() if isinstance(module, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in convolutions] == [16, 16, 16, 1]
    assert all(layer.bias is not None for layer in convolutions)  # no norm would take its effect away
    assert not uses_batch_statistics(nets["G"])
    assert uses_batch_statistics(nets["D"])  # the critic stays DCGAN's


def test_wgans_mlp_generator_has_four_relu_layers_and_the_critic_is_dcgans() -> None:
    with torch.device("meta"):
        nets = FAMILY.build(DcganArch(resolution=28, g_kind="mlp", g_width=512))
    linear = [module for module in nets["G"].modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(100, 512)] + [(512, 512)] * 3 + [
        (512, 784)
    ]
    assert not any(isinstance(module, nn.ConvTranspose2d | nn.BatchNorm1d) for module in nets["G"].modules())
    convolutions = [module for module in nets["D"].modules() if isinstance(module, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 128, 1]


@pytest.mark.parametrize("kind", ["conv", "conv-no-norm", "mlp"])
def test_every_generator_draws_the_label_asked_for_in_the_pixel_range(kind: str) -> None:
    torch.manual_seed(0)
    arch = DcganArch(resolution=16, channels=3, classes=10, g_kind=kind, g_width=16, d_width=8)
    g = FAMILY.build(arch)["G"].eval()
    z = torch.randn(1, 100).expand(10, -1)
    images = g(z, torch.arange(10))
    assert images.shape == (10, 3, 16, 16)
    assert images.abs().max().item() <= 1.0
    assert (torch.cdist(images.flatten(1), images.flatten(1)) + torch.eye(10)).min().item() > 1e-6
    program = torch.export.export(
        g, (z[:3], torch.arange(3)), dynamic_shapes=({0: torch.export.Dim("b")},) * 2
    ).module()
    torch.testing.assert_close(program(z, torch.arange(10)), images, rtol=1e-5, atol=1e-6)


def test_the_compared_recipes_differ_from_the_plain_one_in_what_they_name_alone() -> None:
    plain = dcgan_unconditional().model_dump()
    differing = {
        "lsgan": {"objective"},
        "hinge": {"objective"},
        "wgan": {"objective", "optimizers", "evaluation"},
        "wgan-gp": {"objective", "optimizers", "arch", "evaluation"},
        "wgan-mlp": {"objective", "optimizers", "arch", "evaluation"},
        "wgan-nobn": {"objective", "optimizers", "arch", "evaluation"},
    }  # the evaluations of those with five batches a step come after as many images as the others'
    for name, fields in differing.items():
        found = RECIPES[name]().model_dump()
        assert {key for key in plain if found[key] != plain[key]} == {"name", *fields}, name
    r3gan = R3GAN["r3gan"]()
    assert (r3gan.data, r3gan.train) == (dcgan_unconditional().data, dcgan_unconditional().train)


def test_wgan_is_algorithm_1_with_the_authors_numbers() -> None:
    """Arjovsky et al. 2017, Algorithm 1 and code: α, c, m, n_critic, and 100 critic updates in the first 25 steps and
    in every 500th."""
    spec = RECIPES["wgan"]()
    assert {(player.kind, player.lr) for player in spec.optimizers.values()} == {("rmsprop", 5e-5)}
    assert [(penalty.kind, penalty.bound) for penalty in spec.objective.penalties] == [("clip", 0.01)]
    assert (spec.train.batch, spec.objective.loss, spec.ema) == (64, "wasserstein", None)
    critic, generator = FAMILY.phases(spec)
    assert (critic.name, generator.name) == ("D", "G")  # the critic first
    updates = [critic.repeats(step) for step in range(1002)]
    assert {step for step, count in enumerate(updates) if count == 100} == {*range(25), 500, 1000}
    assert set(updates) == {5, 100}
    assert {generator.repeats(step) for step in range(1002)} == {1}
