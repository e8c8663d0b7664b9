"""BigGAN and BigGAN-deep: the authors' sizes to the unit, the papers' forward passes written plainly, and the switches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, interpolate, linear, relu

from trainer.families import table
from trainer.families.arch import Latent
from trainer.families.biggan.arch import BigganArch, BigganBase
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.families.table import recipes
from trainer.nets.attention import SelfAttention
from trainer.nets.norm import CrossReplicaNorm
from trainer.nets.spectral import Spectral
from trainer.objective.orthogonal import matrices
from trainer.spec import parse_spec, with_overrides


def build(arch: BigganBase) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return table.family(arch.family).build(arch)


def small(kind: type[BigganBase] = BigganArch, **fields: Any) -> BigganBase:
    given = {"resolution": 32, "channels": 1, "classes": 5, "latent": {"dim": 12}, "g_width": 8, "d_width": 8}
    return kind.model_validate({**given, "shared_dim": 6, **fields})


@pytest.mark.parametrize(
    ("arch", "g", "d"),
    [
        (recipes()["biggan-imagenet128"]().arch, 70_433_988, 87_982_370),
        (recipes()["biggan-imagenet256"]().arch, 82_235_844, 99_225_890),
        (recipes()["biggan-deep-imagenet128"]().arch, 50_244_484, 34_590_210),
    ],
    ids=lambda value: getattr(value, "family", None),
)
def test_parameters_are_those_of_the_authors_code(arch: BigganBase, g: int, d: int) -> None:
    with torch.device("meta"):
        nets = build(arch)
    counts = {name: sum(parameter.numel() for parameter in net.parameters()) for name, net in nets.items()}
    assert counts == {"G": g, "D": d}


def used(layer: nn.Module) -> Tensor:
    """W / σ̂(W)."""
    weight: Tensor = layer.weight
    return weight / (layer.u @ weight.flatten(1) @ layer.v)


def conv(layer: nn.Module, x: Tensor, size: int) -> Tensor:
    return conv2d(x, used(layer), layer.bias, padding=size // 2)


def conditional(norm: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    gain, bias = (linear(y, used(layer))[:, :, None, None] for layer in (norm.gain, norm.bias))
    return relu(batch_norm(x, None, None, training=True) * (1 + gain) + bias)


def plain_up(block: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A block of BigGAN's G as figure 15(b) draws it."""
    h = interpolate(conditional(block.norm1, x, y), scale_factor=2)
    h = conv(block.conv1, h, 3)
    h = conv(block.conv2, conditional(block.norm2, h, y), 3)
    return h + conv(block.shortcut, interpolate(x, scale_factor=2), 1)


def plain_up_deep(block: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """A block of BigGAN-deep's G as figure 16(b) draws it."""
    h = conv(block.conv1, conditional(block.norm1, x, y), 1)
    h = conditional(block.norm2, h, y)
    x = x[:, : block.conv4.out_channels]
    if block.doubles:
        h, x = interpolate(h, scale_factor=2), interpolate(x, scale_factor=2)
    h = conv(block.conv3, conditional(block.norm3, conv(block.conv2, h, 3), y), 3)
    return x + conv(block.conv4, conditional(block.norm4, h, y), 1)


def plain_down(block: nn.Module, x: Tensor) -> Tensor:
    """A block of BigGAN's D: convolutions first, mean pooling last."""
    h = conv(block.conv1, x if block.first else relu(x), 3)
    h, s = conv(block.conv2, relu(h), 3), x
    s = s if isinstance(block.shortcut, nn.Identity) else conv(block.shortcut, s, 1)
    return avg_pool2d(h, 2) + avg_pool2d(s, 2) if block.halves else h + s


def plain_down_deep(block: nn.Module, x: Tensor) -> Tensor:
    h = conv(block.conv3, relu(conv(block.conv2, relu(conv(block.conv1, relu(x), 1)), 3)), 3)
    h = relu(h)
    if block.halves:
        h, x = avg_pool2d(h, 2), avg_pool2d(x, 2)
    h = conv(block.conv4, h, 1)
    return h + (x if block.missing is None else torch.cat([x, conv(block.missing, x, 1)], dim=1))


def to_pixels(layer: nn.Module, x: Tensor) -> Tensor:
    x = relu(batch_norm(x, None, None, layer.gain, layer.bias, training=True))
    return torch.tanh(conv(layer.conv, x, 3))


def plain_images(g: nn.Module, z: Tensor, labels: Tensor, deep: bool) -> Tensor:
    e = g.shared.weight[labels]
    if deep:
        first = torch.cat([e, z], dim=1)
        conditions = [first] * len(g.blocks)
    else:
        first, *parts = z.split(3, dim=1)
        conditions = [torch.cat([e, part], dim=1) for part in parts]
    x = linear(first, used(g.linear), g.linear.bias).reshape(len(z), -1, 4, 4)
    for number, (block, y) in enumerate(zip(g.blocks, conditions, strict=True)):
        x = plain_up_deep(block, x, y) if deep else plain_up(block, x, y)
        if number == (3 if deep else 1):  # 16 px
            x = g.attention[1](x)
    return to_pixels(g.to_pixels, x)


def plain_logits(d: nn.Module, x: Tensor, labels: Tensor, deep: bool) -> Tensor:
    for block in d.blocks:
        if hasattr(block, "gamma"):
            x = block(x)
        elif isinstance(block, nn.Conv2d):
            x = conv(block, x, 3)
        elif not isinstance(block, nn.Identity):
            x = plain_down_deep(block, x) if deep else plain_down(block, x)
    h = relu(x).sum(dim=(2, 3))
    own = linear(h, used(d.judgement.linear), d.judgement.linear.bias)[:, 0]
    return own + (used(d.judgement.embed)[labels] * h).sum(dim=1)


@pytest.mark.parametrize("deep", [False, True])
def test_nets_compute_the_papers_forward_pass(deep: bool) -> None:
    nets = build(small(BigganDeepArch if deep else BigganArch, attention=16))
    generator = torch.Generator().manual_seed(1)
    for net in nets.values():
        net.double()
        for parameter in net.parameters():  # biases and attention's γ matter too
            if not parameter.any():
                nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    z = torch.randn(4, 12, dtype=torch.float64, generator=generator)
    labels = torch.tensor([0, 4, 2, 2])
    images = nets["G"](z, labels)
    assert images.shape == (4, 1, 32, 32)
    torch.testing.assert_close(images, plain_images(nets["G"], z, labels, deep), rtol=0.0, atol=1e-10)
    logits = nets["D"](images, labels)
    torch.testing.assert_close(logits, plain_logits(nets["D"], images, labels, deep), rtol=1e-10, atol=1e-10)


def test_each_part_of_z_reaches_its_block_alone() -> None:
    """Skip-z: the last part of z changes the last block, and what comes before it stays."""
    g = build(small())["G"].eval()
    seen: list[list[Tensor]] = []
    for block in g.blocks:
        block.register_forward_hook(lambda _, __, output: seen[-1].append(output))
    z = torch.randn(1, 12)
    other = torch.cat([z[:, :9], torch.randn(1, 3)], dim=1)
    for given in (z, other):
        seen.append([])
        g(given, torch.tensor([1]))
    assert [torch.equal(a, b) for a, b in zip(*seen, strict=True)] == [True, True, False]


def test_without_the_shared_embedding_each_norm_embeds_the_labels_itself() -> None:
    g = build(small(shared_embedding=False, skip_z=False))["G"]
    assert g.shared is None
    tables = [module for module in g.modules() if isinstance(module, nn.Embedding)]
    assert len(tables) == 2 * 2 * 3
    assert not any(isinstance(module, Spectral) for module in tables)
    assert g(torch.randn(2, 12), torch.tensor([0, 3])).shape == (2, 1, 32, 32)
    assert g.unpenalised == ()


def test_all_but_the_shared_embedding_is_normalised_and_regularised() -> None:
    nets = build(small(attention=16))
    for net in nets.values():
        weights = {f"{name}.weight" for name, part in net.named_modules() if isinstance(part, Spectral)}
        plain = {name for name, parameter in net.named_parameters() if parameter.dim() > 1} - weights
        assert plain == ({"shared.weight"} if net is nets["G"] else set())
    assert set(matrices(nets["G"])) == {
        f"{name}.weight" for name, part in nets["G"].named_modules() if isinstance(part, Spectral)
    }


@pytest.mark.parametrize("kind", [BigganArch, BigganDeepArch])
def test_attention_is_where_the_arch_wants_it_once_or_several_times(kind: type[BigganBase]) -> None:
    for attention, layers in ((None, 0), (16, 1), ((8,), 1), ((8, 16), 2)):
        arch = small(kind, attention=attention)
        nets = build(arch)
        for net in nets.values():
            assert sum(isinstance(part, SelfAttention) for part in net.modules()) == layers
        images = nets["G"](torch.randn(2, 12), torch.tensor([0, 3]))
        assert nets["D"](images, torch.tensor([0, 3])).shape == (2,)
        assert kind.model_validate_json(arch.model_dump_json()) == arch


@pytest.mark.parametrize("kind", [BigganArch, BigganDeepArch])
def test_the_epsilon_is_that_of_all_conditional_norms_and_not_of_the_last(kind: type[BigganBase]) -> None:
    g = build(small(kind, norm_eps=1e-4))["G"]
    found = {name: part.eps for name, part in g.named_modules() if isinstance(part, CrossReplicaNorm)}
    assert found.pop("to_pixels.norm") == 1e-5
    assert set(found.values()) == {1e-4}


@pytest.mark.parametrize("kind", [BigganArch, BigganDeepArch])
def test_orthogonal_weights_start_orthogonal_and_normal_ones_small(kind: type[BigganBase]) -> None:
    for name, start in (("orthogonal", 1.0), ("normal", 0.0)):
        weight = build(small(kind, init=name))["D"].blocks[-1].conv2.weight.detach().flatten(1)
        torch.testing.assert_close(weight @ weight.T, start * torch.eye(len(weight)), atol=0.15, rtol=0.0)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"attention": 64}, r"attention \(64\).*use one of 16, 8"),
        ({"latent": {"dim": 10}}, r"latent.dim \(10\).*multiple of 4, e.g. 8"),
        ({"shared_embedding": False}, "skip_z"),
        ({"resolution": 48}, "48 is not possible"),
        ({"resolution": 8, "attention": 4}, "leave it out"),
        ({"attention": (8, 32)}, r"attention \(32\).*use one of 16, 8"),
        ({"attention": (8, 8)}, "names a resolution twice"),
        ({"attention": ()}, "at least 1"),
    ],
)
def test_archs_that_cannot_be_built_are_refused_with_the_fix(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        small(**fields)


def test_the_tables_of_512_px_go_on_as_the_papers_do() -> None:
    arch = BigganArch(resolution=512, classes=1, latent=Latent(dim=160), g_width=8, d_width=8)
    assert [a // 8 for a, _ in arch.g_stages] == [16, 16, 8, 8, 4, 2, 1]
    assert [b // 8 for _, b in arch.g_stages] == [16, 8, 8, 4, 2, 1, 1]
    assert [b // 8 for b, _ in arch.d_stages] == [1, 1, 2, 4, 8, 8, 16, 16]
    assert [halves for _, halves in arch.d_stages] == [True] * 7 + [False]


def test_spectral_norms_iterate_after_each_update_of_the_player_that_stepped() -> None:
    spec = with_overrides(recipes()["biggan-digits"](), ["objective.d_steps=2"])
    for phase in table.family("biggan").phases(parse_spec(spec.model_dump(mode="json"))):
        net = build(spec.arch)[phase.name]
        layer = next(module for module in net.modules() if isinstance(module, Spectral))
        nn.init.normal_(layer.weight)
        before = layer.u.clone()
        for change in phase.after_update:
            change(net)
        assert not torch.equal(layer.u, before)
