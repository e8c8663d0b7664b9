"""Import of BigGAN-PyTorch's generators: state dicts in the layout of that code give the images that it would draw."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from biggan_theirs import CHUNK, CLASSES, Weights, biggan, biggan_deep, draw, inputs, saved
from typer.testing import CliRunner

from trainer.families.biggan.arch import BigganArch
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.families.table import family
from trainer.publish.__main__ import app
from trainer.publish.biggan_pytorch import arch_of, import_generator, layout, theirs
from trainer.publish.discriminator import load as load_discriminator
from trainer.publish.portable.generator import Generator


@pytest.mark.parametrize("deep", [False, True])
def test_an_imported_generator_draws_what_theirs_draws(deep: bool, tmp_path: Path) -> None:
    weights = biggan_deep() if deep else biggan()
    z, labels = inputs(deep)
    imported = import_generator(saved(weights, tmp_path))
    arch = imported.spec.arch
    assert arch.family == ("biggan-deep" if deep else "biggan")
    assert (arch.resolution, arch.classes, arch.latent.dim, arch.attention) == (32, CLASSES, z.shape[1], 16)
    expected = draw(weights, z, labels, depth=2 * deep)
    assert expected.std().item() > 0.1
    torch.testing.assert_close(imported.generator(z, labels), expected, rtol=0.0, atol=2e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_biggan_deep_of_another_depth_draws_what_theirs_draws(depth: int, tmp_path: Path) -> None:
    weights, (z, labels) = biggan_deep(depth), inputs(deep=True)
    imported = import_generator(saved(weights, tmp_path))
    assert imported.spec.arch.blocks == depth
    torch.testing.assert_close(imported.generator(z, labels), draw(weights, z, labels, depth), rtol=0.0, atol=2e-5)


def test_attention_at_several_resolutions_is_imported(tmp_path: Path) -> None:
    weights, (z, labels) = biggan(attended=(0, 1)), inputs(deep=False)
    imported = import_generator(saved(weights, tmp_path))
    assert imported.spec.arch.attention == (8, 16)
    torch.testing.assert_close(imported.generator(z, labels), draw(weights, z, labels), rtol=0.0, atol=2e-5)


def renamed(weights: Weights, statistic: str, count: float | None = None) -> Weights:
    """With the names of `--cross_replica` (running) or `--mybn` (stored), whose sums are of `count` batches."""
    found = {}
    for name, value in weights.items():
        if "stored" not in name:
            found[name] = value
            continue
        norm, _, kind = name.rpartition(".stored_")
        found[f"{norm}.bn.{statistic}_{kind}"] = value if not count else value * count
        if count is not None:
            found[f"{norm}.bn.accumulation_counter"] = torch.tensor([count])
        else:
            found[f"{norm}.bn.num_batches_tracked"] = torch.tensor(7)
    return found


WRITTEN: dict[str, Callable[[Weights], object]] = {
    "--cross_replica": lambda weights: renamed(weights, "running"),
    "--mybn": lambda weights: renamed(weights, "stored", 0.0),
    "--mybn with standing statistics": lambda weights: renamed(weights, "stored", 16.0),
    "--num_G_SVs 2": lambda weights: weights
    | {name[:-1] + "1": value * 2 for name, value in weights.items() if name.endswith(("u0", "sv0"))},
    "DataParallel": lambda weights: {f"module.{name}": value for name, value in weights.items()},
    "compiled and DDP": lambda weights: {f"module._orig_mod.{name}": value for name, value in weights.items()},
    "a pair of nets": lambda weights: {f"G.{n}": v for n, v in weights.items()} | {"D.linear.weight": torch.ones(1, 2)},
    "a checkpoint": lambda weights: {"epoch": 3, "state_dict": weights},
    "all nets": lambda weights: {"D": {"linear.weight": torch.ones(1, 2)}, "G": {}, "G_ema": weights},
    "half precision": lambda weights: {n: v.half().float().double() for n, v in weights.items()},
}  # fmt: skip


@pytest.mark.parametrize("written", WRITTEN)
def test_however_the_file_was_written_it_draws_the_same(written: str, tmp_path: Path) -> None:
    weights, (z, labels) = biggan(), inputs(deep=False)
    imported = import_generator(saved(WRITTEN[written](weights), tmp_path))
    atol = 2e-2 if written == "half precision" else 2e-5
    torch.testing.assert_close(imported.generator(z, labels), draw(weights, z, labels), rtol=0.0, atol=atol)
    assert imported.spec.arch.norm_eps == 1e-5


def test_a_generator_without_spectral_norm_draws_what_theirs_draws(tmp_path: Path) -> None:
    weights, (z, labels) = biggan(), inputs(deep=False)
    bare = {
        name: value / (value.flatten(1).norm() if value.dim() > 1 else 1.0)
        for name, value in weights.items()
        if not name.endswith(("u0", "sv0"))
    }
    imported = import_generator(saved(bare, tmp_path))
    torch.testing.assert_close(imported.generator(z, labels), draw(bare, z, labels), rtol=0.0, atol=2e-5)
    assert "no spectral norm" in " ".join(imported.notes)


def test_a_converted_tf_hub_model_has_its_epsilon_in_the_conditional_norms_alone(tmp_path: Path) -> None:
    weights, (z, labels) = biggan(), inputs(deep=False)
    for name in [name for name in weights if name.endswith("stored_var")]:
        weights[name] *= 1e-3  # small variances, so that the epsilons show
    hub = {name: value for name, value in weights.items() if not name.endswith("sv0")}
    imported = import_generator(saved(hub, tmp_path))
    assert imported.spec.arch.norm_eps == 1e-4
    assert "norm_eps is 0.0001" in " ".join(imported.notes)
    found, expected = imported.generator(z, labels), draw(weights, z, labels, eps=1e-4)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=2e-4)
    assert (expected - draw(weights, z, labels)).abs().max().item() > 2e-2
    asked = import_generator(saved(hub, tmp_path), norm_eps=1e-5)
    torch.testing.assert_close(asked.generator(z, labels), draw(weights, z, labels), rtol=0.0, atol=2e-4)


def archs() -> Iterator[Any]:
    for resolution, attention in ((32, 16), (128, (16, 64))):
        fields = {"resolution": resolution, "classes": 5, "g_width": 8, "d_width": 8, "attention": attention}
        yield BigganArch.model_validate(fields | {"skip_z": False, "latent": {"dim": 30}})
        yield BigganArch.model_validate(fields | {"skip_z": False, "shared_embedding": False, "latent": {"dim": 30}})
        yield from (BigganDeepArch.model_validate(fields | {"blocks": blocks}) for blocks in (1, 3))


@pytest.mark.parametrize("arch", list(archs()), ids=lambda arch: f"{arch.family}-{arch.resolution}")
def test_names_and_shapes_say_which_generator_it_is(arch: Any) -> None:
    with torch.device("meta"):
        net = type(family(arch.family)).generator(arch)
    named = {theirs(name, arch): value for name, value in net.state_dict().items()}
    assert arch_of({name: value for name, value in named.items() if name}) == arch


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512])
def test_resolution_and_depth_of_biggan_deep_are_told_apart(resolution: int, depth: int) -> None:
    """Names tell the number of blocks alone: 6 are 2 at each resolution up to 32 px, or 1 up to 256 px."""
    stages = BigganDeepArch(resolution=resolution, classes=2, g_width=8).g_stages
    inputs = [channels for channels, _ in stages for _ in range(depth)]
    norms = {f"blocks.{i}.0.bn1.stored_mean": torch.empty(channels) for i, channels in enumerate(inputs)}
    assert layout(norms) == (len(stages), depth)


def test_generators_without_shared_embedding_and_skip_z_are_recognised(tmp_path: Path) -> None:
    weights = biggan()
    del weights["shared.weight"]
    for name in [name for name in weights if ".bn" in name and "stored" not in name]:
        channels = weights[name].shape[0]
        del weights[name]
        if name.endswith("weight"):
            weights[name] = torch.randn(CLASSES, channels)
    arch = import_generator(saved(weights, tmp_path)).spec.arch
    assert (arch.shared_embedding, arch.skip_z, arch.latent.dim, arch.classes) == (False, False, CHUNK, CLASSES)


@pytest.mark.long
def test_the_command_makes_a_package_that_samples(tmp_path: Path) -> None:
    weights = biggan()
    out = tmp_path / "model"
    command = ["import", "biggan-pytorch", str(saved(weights, tmp_path)), str(out), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"path": str(out), "model": "biggan-imported"}
    package = Generator(out)
    assert package.sample(n=3, seed=1, labels=2, truncation=0.5).shape == (3, 32, 32, 3)
    z, labels = inputs(deep=False)
    found = package.forward(z, labels).numpy()
    np.testing.assert_allclose(found, draw(weights, z, labels).numpy(), atol=2e-5)
    assert "G_ema.pth" in (out / "card.md").read_text()
    assert "discriminator" not in json.loads((out / "config.json").read_text())
    with pytest.raises(ValueError, match="holds no discriminator; import the model again with --discriminator"):
        load_discriminator(out)
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "exists" in again.output


def test_a_file_that_differs_is_refused_with_every_difference(tmp_path: Path) -> None:
    weights = biggan()
    del weights["blocks.0.0.conv1.bias"]
    weights["blocks.2.0.conv2.weight"] = torch.zeros(3, 3)
    weights["extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match="differs from biggan at 32 px") as refused:
        import_generator(saved(weights, tmp_path))
    for difference in (
        "blocks.0.0.conv1.bias is missing", "extra is not known", "blocks.2.0.conv2.weight is [3, 3], not [32, 32, 3, 3]"
    ):  # fmt: skip
        assert difference in str(refused.value)


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [("linear.weight", (3,), "linear.weight missing or of another shape"), ("shared.weight", (), "shared.weight missing or"),
     ("blocks.99999999999.1.gamma", (), "differs from biggan at 64 px")],
)  # fmt: skip
def test_tensors_of_any_shape_and_blocks_of_any_number_are_refused_not_stumbled_over(
    name: str, shape: tuple[int, ...], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        import_generator(saved(biggan() | {name: torch.zeros(shape)}, tmp_path))


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_bit_is_noticed_before_anything_is_read(place: float, tmp_path: Path) -> None:
    path = saved(biggan(), tmp_path)
    with zipfile.ZipFile(path) as archive:
        members = [entry for entry in archive.infolist() if entry.file_size > 500]
    member = members[int(place * len(members))]
    content = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", content, member.header_offset + 26)
    content[member.header_offset + 30 + name + extra + int(place * member.file_size)] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged: .* fetch the file again"):
        import_generator(path)


def test_a_download_that_broke_off_is_no_archive(tmp_path: Path) -> None:
    path = saved(biggan(), tmp_path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="its download broke off"):
        import_generator(path)


def test_a_compressed_archive_is_no_file_of_torch_save_and_is_not_inflated(tmp_path: Path) -> None:
    plain = saved(biggan(), tmp_path)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(tmp_path / "G.pth", "w", zipfile.ZIP_BZIP2) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ValueError, match="is a compressed archive"):
        import_generator(tmp_path / "G.pth")


def test_torchs_old_format_is_read_and_said_to_have_no_checksums(tmp_path: Path) -> None:
    torch.save(biggan(), tmp_path / "G.pth", _use_new_zipfile_serialization=False)
    assert "no checksums" in " ".join(import_generator(tmp_path / "G.pth").notes)


BROKEN = {
    "blocks.1.0.conv2.weight holds NaN or infinity (1 of 9216 values)": ("blocks.1.0.conv2.weight", float("nan")),
    "shared.weight holds NaN or infinity": ("shared.weight", float("inf")),
    "blocks.2.0.bn1.stored_var holds a negative variance (-0.5)": ("blocks.2.0.bn1.stored_var", -0.5),
    "output_layer.0.stored_var holds a negative variance": ("output_layer.0.stored_var", -1e-3),
    "linear.u0 is all zeros": ("linear.u0", None),
    "blocks.0.0.conv1.weight has the spectral norm 0": ("blocks.0.0.conv1.weight", None),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_values_that_no_net_can_run_with_are_named(reason: str, tmp_path: Path) -> None:
    weights = biggan()
    name, value = BROKEN[reason]
    if value is None:
        weights[name].zero_()
    else:
        weights[name].view(-1)[3] = value
    with pytest.raises(ValueError, match=re.escape(reason)):
        import_generator(saved(weights, tmp_path))


@pytest.mark.long
def test_the_epsilon_that_is_given_is_the_packages(tmp_path: Path) -> None:
    weights, (z, labels) = biggan(), inputs(deep=False)
    out = tmp_path / "model"
    command = ["import", "biggan-pytorch", str(saved(weights, tmp_path)), str(out), "--norm-eps", "1e-2"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    expected = draw(weights, z, labels, eps=1e-2)
    np.testing.assert_allclose(Generator(out).forward(z, labels).numpy(), expected.numpy(), atol=2e-5)
    assert json.loads((out / "config.json").read_text())["arch"]["norm_eps"] == 1e-2


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of the file ran')",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [({"linear.weight": Trap()}, "something else than tensors"), ({"state": {"a": 1}}, "is no state dict"),
     ({"linear.weight": torch.zeros(2, 2)}, "no generator of BigGAN-PyTorch"),
     ({"linear.weight": torch.zeros(1, 2), "embed.weight": torch.zeros(5, 2)}, "is a discriminator.*give G_ema.pth"),
     ({"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}, "is the state of an optimiser"),
     ({"a": {"x": torch.zeros(2)}, "b": {"x": torch.zeros(2)}}, "several state dicts: a, b"),
     (torch.zeros(2), "but a Tensor")],
)  # fmt: skip
def test_files_that_are_no_generators_are_refused_and_run_no_code(content: object, reason: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "G.pth")
    with pytest.raises(ValueError, match=reason):
        import_generator(tmp_path / "G.pth")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        import_generator(tmp_path / "G.pth")
