"""What every family in the table promises the engine, at every resolution, channel count and conditioning it offers.

A new family is tested by existing: it is built at the smallest net its Arch allows (`small`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trainer.families import table
from trainer.families.arch import Arch
from trainer.families.base import AnyFamily
from trainer.nets.norm import uses_batch_statistics
from trainer.objective.losses import LOSSES
from trainer.objective.phases import Batch, Phase
from trainer.spec import Adam, Data, JobSpec, Objective, parse_spec

RESOLUTIONS = (8, 16, 28, 32, 64, 128)
RGB = (28, 32, 64)
LARGE = (64, 128)
"""Tried in `make test-long`."""
WIDTHS = {
    "g_width": 8, "d_width": 8, "g_hidden": 32, "d_hidden": 16, "e_hidden": 32,
    "g_z_hidden": 16, "g_y_hidden": 16, "d_x_hidden": 16, "d_y_hidden": 16,
}  # fmt: skip
"""Fields that make nets small, where a family has them."""


def small(name: str, **fields: Any) -> Arch:
    """The family's Arch with narrow nets. Raises ValidationError where the family does not offer the fields."""
    arch_class = ARCH[name]
    narrow = {field: width for field, width in WIDTHS.items() if field in arch_class.model_fields}
    return arch_class.model_validate({"family": name, **narrow, **fields})


ARCH = {cls.model_fields["family"].default: cls for cls in table.arch_classes()}
CLASSES = {"optional": (0, 10), "required": (10,), "none": (0,)}
CONDITIONAL = [name for name in table.NAMES if ARCH[name].label_use != "none"]
ADVERSARIAL = [name for name in table.NAMES if ARCH[name].adversarial]


def cases() -> Iterator[Any]:
    """Channels are the first and the last layer's affair alone, so RGB is tried at some of the resolutions."""
    for name, resolution in product(table.NAMES, RESOLUTIONS):
        for channels in (1, 3) if resolution in RGB else (1,):
            yield from _cases(name, resolution, channels)


def _cases(name: str, resolution: int, channels: int) -> Iterator[Any]:
    for classes in CLASSES[ARCH[name].label_use]:
        try:
            arch = small(name, resolution=resolution, channels=channels, classes=classes)
        except ValidationError:
            continue
        marks = [pytest.mark.long] if resolution in LARGE else []
        yield pytest.param(arch, id=f"{name}-{resolution}px-{channels}c-{classes}k", marks=marks)


def make_spec(arch: Arch, **sections: Any) -> JobSpec:
    optimizers = {name: Adam(lr=1e-3) for name in arch.players}
    if arch.own_loss:
        sections["objective"] = Objective(loss="own")
    return JobSpec(arch=arch, data=Data(url="data/any"), optimizers=optimizers, ema=None, **sections)


def build(arch: Arch, seed: int = 0) -> tuple[AnyFamily, dict[str, nn.Module]]:
    torch.manual_seed(seed)
    family = table.family(arch.family)
    return family, family.build(arch)


def make_batch(family: AnyFamily, arch: Arch, n: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    low, high = arch.pixel_range
    real = torch.rand(n, arch.channels, arch.resolution, arch.resolution, generator=generator) * (high - low) + low
    labels = family.labels(arch, n, generator)
    return Batch(real, labels, family.latents(arch, n, generator), family.labels(arch, n, generator), 0)


def judge(arch: Arch, nets: dict[str, nn.Module], images: Tensor, labels: Tensor | None, z: Tensor) -> Tensor:
    """D's logits; D of an adversarial family with an encoder judges (image, z) pairs."""
    logits: Tensor = nets["D"](images, labels, z) if arch.encoder else nets["D"](images, labels)
    return logits


each_case = pytest.mark.parametrize("arch", list(cases()))
each_small = pytest.mark.parametrize(
    "arch",
    [small(n, resolution=16, classes=k, channels=1) for n in table.NAMES for k in CLASSES[ARCH[n].label_use]],
    ids=lambda arch: f"{arch.family}-{arch.classes}k",
)  # fmt: skip
each_small_judged = pytest.mark.parametrize(
    "arch",
    [small(n, resolution=16, classes=k, channels=1) for n in ADVERSARIAL for k in CLASSES[ARCH[n].label_use]],
    ids=lambda arch: f"{arch.family}-{arch.classes}k",
)  # fmt: skip
each_family = pytest.mark.parametrize("name", table.NAMES)


@each_case
def test_shapes_ranges_and_types_are_the_conventions(arch: Arch) -> None:
    family, nets = build(arch)
    batch = make_batch(family, arch)
    images = nets["G"](batch.z, batch.fake_labels)
    assert images.shape == batch.real.shape
    assert images.dtype == torch.float32
    low, high = arch.pixel_range
    assert low <= images.min().item()
    assert images.max().item() <= high
    if arch.adversarial:
        logits = judge(arch, nets, images, batch.fake_labels, batch.z)
        assert logits.shape == (4,)
        assert torch.isfinite(logits).all()
    if arch.encoder:
        assert nets["E"](batch.real).shape == batch.z.shape


@each_case
def test_gradients_reach_every_parameter_of_the_stepping_players_and_no_other(arch: Arch) -> None:
    family, nets = build(arch)
    for net in nets.values():
        for parameter in net.parameters():
            if (
                not parameter.any()
            ):  # what starts at 0 (residual branches) holds back gradients in the first update alone
                nn.init.normal_(parameter, 0.0, 0.1)
    spec = make_spec(arch)
    for phase in family.phases(spec):
        for name, net in nets.items():
            net.zero_grad()
            net.requires_grad_(name in phase.players)
        phase.loss(nets, make_batch(family, arch, n=8)).total.backward()
        for name, net in nets.items():
            for path, parameter in net.named_parameters():
                touched = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
                assert touched is (name in phase.players), f"phase {phase.name}: {name}.{path}"


@pytest.mark.long
@each_case
def test_it_builds_on_the_meta_device_with_the_same_shapes(arch: Arch) -> None:
    with torch.device("meta"):
        _, planned = build(arch)
    _, real = build(arch)
    for name in arch.players:
        assert all(value.is_meta for value in planned[name].state_dict().values())
        shapes = {path: value.shape for path, value in planned[name].state_dict().items()}
        assert shapes == {path: value.shape for path, value in real[name].state_dict().items()}


@each_small
def test_players_are_those_of_the_arch_and_all_step(arch: Arch) -> None:
    family, nets = build(arch)
    assert set(nets) == set(arch.players)
    phases: tuple[Phase, ...] = family.phases(make_spec(arch))
    assert len({phase.name for phase in phases}) == len(phases)
    assert {player for phase in phases for player in phase.players} == set(arch.players)


@each_small
def test_labels_are_drawn_if_and_only_if_the_arch_is_conditional(arch: Arch) -> None:
    family, _ = build(arch)
    assert (family.labels(arch, 4, torch.Generator()) is not None) is arch.conditional


@pytest.mark.parametrize("name", CONDITIONAL)
def test_labels_decide_what_is_drawn_and_judged(name: str) -> None:
    arch = small(name, resolution=16, classes=10)
    family, nets = build(arch)
    batch = make_batch(family, arch, n=6)
    for net in nets.values():
        net.eval()
    zeros, ones = torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    assert not torch.allclose(nets["G"](batch.z, zeros), nets["G"](batch.z, ones))
    one, other = (judge(arch, nets, batch.real, labels, batch.z) for labels in (zeros, ones))
    assert not torch.allclose(one, other)
    mixed = nets["G"](batch.z, torch.tensor([0, 1, 0, 1, 0, 1]))  # each row its own label
    torch.testing.assert_close(mixed[0::2], nets["G"](batch.z, zeros)[0::2])
    torch.testing.assert_close(mixed[1::2], nets["G"](batch.z, ones)[1::2])


@pytest.mark.parametrize("name", CONDITIONAL)
def test_every_label_differs_from_every_other(name: str) -> None:
    arch = small(name, resolution=16, classes=10)
    family, nets = build(arch)
    z = family.latents(arch, 1, torch.Generator().manual_seed(0)).expand(arch.classes, -1)
    images = nets["G"].eval()(z, torch.arange(arch.classes)).flatten(1)
    distances = torch.cdist(images, images) + torch.eye(arch.classes)
    assert distances.min().item() > 1e-6


@pytest.mark.parametrize("name", [name for name in table.NAMES if small(name, resolution=16).latent.codes])
def test_every_code_decides_what_is_drawn(name: str) -> None:
    arch = small(name, resolution=16)
    family, nets = build(arch)
    g, z = nets["G"].eval(), family.latents(arch, 4, torch.Generator().manual_seed(0))
    for code in arch.latent.codes:
        columns = slice(code.column, code.column + code.size)
        other = z.clone()
        other[:, columns] = z[:, columns].roll(1, dims=1) if code.kind == "categorical" else -z[:, columns]
        assert (g(other) - g(z)).abs().flatten(1).amax(dim=1).min().item() > 1e-6, code.name


@each_small
def test_latents_and_labels_come_from_the_generator_given_alone(arch: Arch) -> None:
    family, _ = build(arch)
    torch.manual_seed(0)
    one = make_batch(family, arch, n=32, seed=5)
    torch.manual_seed(1)
    two = make_batch(family, arch, n=32, seed=5)
    assert torch.equal(one.z, two.z)
    assert one.z.shape == (32, arch.latent.width)
    assert one.z.device.type == "cpu"
    if one.fake_labels is not None:
        assert two.fake_labels is not None
        assert torch.equal(one.fake_labels, two.fake_labels)
        assert one.fake_labels.dtype == torch.int64
        assert one.fake_labels.min() >= 0
        assert one.fake_labels.max() < arch.classes


@each_small
def test_building_is_a_function_of_the_seed(arch: Arch) -> None:
    (_, one), (_, same), (_, other) = build(arch, 3), build(arch, 3), build(arch, 4)
    for name in arch.players:
        first = one[name].state_dict()
        assert all(torch.equal(value, first[path]) for path, value in same[name].state_dict().items())
        assert any(not torch.equal(value, first[path]) for path, value in other[name].state_dict().items())


@each_small
def test_names_of_the_state_do_not_depend_on_the_build(arch: Arch) -> None:
    (_, one), (_, two) = build(arch, 0), build(arch, 1)
    for name in arch.players:
        assert list(one[name].state_dict()) == list(two[name].state_dict())
        assert not any(is_lazy(parameter) for parameter in one[name].parameters())


@each_small
def test_evaluation_is_deterministic_and_treats_samples_alone(arch: Arch) -> None:
    family, nets = build(arch)
    batch = make_batch(family, arch, n=6)
    for net in nets.values():
        net.eval()
    before = {name: [value.clone() for value in net.state_dict().values()] for name, net in nets.items()}
    images = nets["G"](batch.z, batch.fake_labels)
    assert torch.equal(images, nets["G"](batch.z, batch.fake_labels))
    first = batch.fake_labels[:2] if batch.fake_labels is not None else None
    torch.testing.assert_close(nets["G"](batch.z[:2], first), images[:2], rtol=1e-4, atol=1e-5)
    if arch.adversarial:
        once, again = (judge(arch, nets, images, batch.fake_labels, batch.z) for _ in range(2))
        assert torch.equal(once, again)
    if arch.encoder:
        codes = nets["E"](batch.real)
        torch.testing.assert_close(nets["E"](batch.real[:2]), codes[:2], rtol=1e-4, atol=1e-5)
    for name, net in nets.items():
        assert all(torch.equal(a, b) for a, b in zip(before[name], net.state_dict().values(), strict=True))


@each_small_judged
def test_d_says_of_itself_what_the_spec_believes_about_batch_statistics(arch: Arch) -> None:
    _, nets = build(arch)
    assert uses_batch_statistics(nets["D"]) is arch.d_batch_statistics


@pytest.mark.long
@each_small
def test_published_nets_export_with_a_dynamic_batch_and_compute_the_same(arch: Arch) -> None:
    family, nets = build(arch)
    for player in arch.published:
        net = nets[player].eval()
        for n in (3, 1, 2, 7):
            batch = make_batch(family, arch, n=n, seed=n)
            labelled = (batch.z,) if batch.fake_labels is None else (batch.z, batch.fake_labels)
            inputs = labelled if player == "G" else (batch.real,)
            if n == 3:
                shapes = tuple({0: torch.export.Dim("batch", min=1, max=4096)} for _ in inputs)
                program = torch.export.export(net, inputs, dynamic_shapes=shapes).module()
            torch.testing.assert_close(program(*inputs), net(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.long
@each_small
@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_waits_for_the_device(arch: Arch, loss: Any) -> None:
    """On the meta device there is no value to wait for: `.item()`, `bool(tensor)` and the like raise."""
    family = table.family(arch.family)
    with torch.device("meta"):
        nets = family.build(arch)
    cpu = make_batch(family, arch)
    to_meta = lambda value: None if value is None else value.to("meta")  # noqa: E731
    batch = Batch(cpu.real.to("meta"), to_meta(cpu.labels), cpu.z.to("meta"), to_meta(cpu.fake_labels), 0)
    objective = Objective(loss=loss) if arch.adversarial else Objective()
    for phase in family.phases(make_spec(arch, objective=objective)):
        result = phase.loss(nets, batch)
        result.total.backward()
        assert all(metric.is_meta and not metric.requires_grad for metric in result.metrics.values())


@each_small
def test_losses_under_bf16_autocast_are_float32_and_close(arch: Arch) -> None:
    family, nets = build(arch)
    batch = make_batch(family, arch, n=8)
    for phase in family.phases(make_spec(arch)):
        torch.manual_seed(0)
        full = phase.loss(nets, batch).total
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            half = phase.loss(nets, batch).total
        assert half.dtype == torch.float32
        assert half.item() == pytest.approx(full.item(), rel=0.05, abs=0.05)


@each_small
def test_float64_nets_compute_in_float64(arch: Arch) -> None:
    """Gradient checks run in float64; a hard-wired float32 would spoil them silently."""
    family, nets = build(arch)
    batch = make_batch(family, arch)
    images: Tensor = nets["G"].double()(batch.z.double(), batch.fake_labels)
    assert images.dtype == torch.float64
    if arch.encoder:
        assert nets["E"].double()(images).dtype == torch.float64
    if arch.adversarial:
        nets["D"].double()
        assert judge(arch, nets, images, batch.fake_labels, batch.z.double()).dtype == torch.float64


@each_family
def test_arch_and_family_know_each_other(name: str) -> None:
    arch = small(name, resolution=16, classes=CLASSES[ARCH[name].label_use][0])
    assert arch.family == name
    assert get_args(type(arch).model_fields["family"].annotation) == (name,)
    assert table.family(name).build(arch).keys() == set(arch.players)


def test_a_family_that_is_not_in_the_table_is_named_in_the_error() -> None:
    with pytest.raises(KeyError, match=r"no family 'gna'.*gan, dcgan"):
        table.family("gna")


@pytest.mark.parametrize("recipe", table.recipes())
def test_recipes_are_full_valid_specs_of_their_name_with_a_line_of_description(recipe: str) -> None:
    function = table.recipes()[recipe]
    spec = function()
    assert spec.name == recipe
    assert parse_spec(spec.model_dump(mode="json")) == spec
    assert function() == spec
    assert function.__doc__
    assert "\n" not in function.__doc__.strip()


@each_family
def test_each_family_has_a_recipe_on_the_builtin_digits(name: str) -> None:
    specs = [function() for function in table.recipes().values()]
    assert any(spec.arch.family == name and spec.data.url == "builtin:digits" for spec in specs)


def test_no_two_families_share_a_recipe_name() -> None:
    modules = [table.module(name, "recipes") for name in table.NAMES]
    assert sum(len(module.RECIPES) for module in modules) == len(table.recipes())


@pytest.mark.long
@each_small_judged
@pytest.mark.parametrize("loss", LOSSES)
def test_updates_of_d_reduce_its_loss_on_a_fixed_batch(arch: Arch, loss: Any) -> None:
    family, nets = build(arch)
    phase = next(phase for phase in family.phases(make_spec(arch, objective=Objective(loss=loss))) if phase.name == "D")
    batch = make_batch(family, arch, n=16)
    optimizer = torch.optim.Adam([p for name in phase.players for p in nets[name].parameters()], lr=1e-3)

    def value() -> Tensor:
        torch.manual_seed(0)  # the same dropout each time
        return phase.loss(nets, batch).total

    start = value().item()
    for _ in range(5):
        optimizer.zero_grad()
        value().backward()
        optimizer.step()
    assert value().item() < start
