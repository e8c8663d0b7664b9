"""Import of BigGAN-PyTorch's generators: state dicts in the layout of that code give the images that it would draw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, interpolate, linear, max_pool2d, normalize, relu
from typer.testing import CliRunner

from trainer.publish.__main__ import app
from trainer.publish.biggan_pytorch import import_generator
from trainer.publish.portable.generator import Generator

CH, CLASSES, SHARED, CHUNK, STAGES = 8, 5, 6, 3, 3
Weights = dict[str, Tensor]


class Layout:
    """A random state dict of one of their generators at 32 px, name by name."""

    def __init__(self) -> None:
        self.found: Weights = {}
        self.source = torch.Generator().manual_seed(0)

    def draw(self, name: str, *shape: int, scale: float = 1.0) -> None:
        self.found[name] = scale * torch.randn(shape, generator=self.source)

    def normalised(self, name: str, *shape: int, bias: bool = True) -> None:
        self.draw(f"{name}.weight", *shape)
        if bias:
            self.draw(f"{name}.bias", shape[0], scale=0.1)
        self.draw(f"{name}.u0", 1, shape[0])
        self.found[f"{name}.sv0"] = torch.ones(1)

    def statistics(self, name: str, channels: int) -> None:
        self.draw(f"{name}.stored_mean", channels, scale=0.1)
        self.found[f"{name}.stored_var"] = torch.rand(channels, generator=self.source) + 0.5

    def norm(self, name: str, channels: int, condition: int) -> None:
        for part in ("gain", "bias"):
            self.normalised(f"{name}.{part}", channels, condition, bias=False)
        self.statistics(name, channels)

    def attention(self, name: str, channels: int) -> None:
        for part, shape in (("theta", (1, 8)), ("phi", (1, 8)), ("g", (4, 8)), ("o", (8, 4))):
            self.normalised(f"{name}.{part}", shape[0] * channels // 8, shape[1] * channels // 8, 1, 1, bias=False)
        self.found[f"{name}.gamma"] = torch.tensor(0.6)

    def output(self, channels: int) -> None:
        self.draw("output_layer.0.gain", channels)
        self.draw("output_layer.0.bias", channels, scale=0.1)
        self.statistics("output_layer.0", channels)
        self.normalised("output_layer.2", 3, channels, 3, 3)


def biggan() -> Weights:
    made, width = Layout(), 4 * CH
    made.draw("shared.weight", CLASSES, SHARED)
    made.normalised("linear", width * 16, CHUNK)
    for i in range(STAGES):
        made.normalised(f"blocks.{i}.0.conv1", width, width, 3, 3)
        made.normalised(f"blocks.{i}.0.conv2", width, width, 3, 3)
        made.normalised(f"blocks.{i}.0.conv_sc", width, width, 1, 1)
        made.norm(f"blocks.{i}.0.bn1", width, SHARED + CHUNK)
        made.norm(f"blocks.{i}.0.bn2", width, SHARED + CHUNK)
    made.attention("blocks.1.1", width)
    made.output(width)
    return made.found


def biggan_deep() -> Weights:
    made, width = Layout(), 4 * CH
    made.draw("shared.weight", CLASSES, SHARED)
    made.normalised("linear", width * 16, SHARED + CHUNK)
    for i in range(2 * STAGES):
        for part, shape in (("conv1", (1, 4, 1)), ("conv2", (1, 1, 3)), ("conv3", (1, 1, 3)), ("conv4", (4, 1, 1))):
            made.normalised(f"blocks.{i}.0.{part}", shape[0] * CH, shape[1] * CH, shape[2], shape[2])
        for number, channels in ((1, width), (2, CH), (3, CH), (4, CH)):
            made.norm(f"blocks.{i}.0.bn{number}", channels, SHARED + CHUNK)
    made.attention("blocks.3.1", width)
    made.output(width)
    return made.found


def weight(w: Weights, name: str) -> Tensor:
    """Their W_ in evaluation: one iteration from u0, which is not kept."""
    matrix = w[f"{name}.weight"].flatten(1)
    v = normalize(w[f"{name}.u0"] @ matrix)
    u = normalize(v @ matrix.T)
    return w[f"{name}.weight"] / (v @ matrix.T @ u.T).squeeze()


def conv(w: Weights, name: str, x: Tensor) -> Tensor:
    kernel = weight(w, name)
    return conv2d(x, kernel, w.get(f"{name}.bias"), padding=kernel.shape[2] // 2)


def norm(w: Weights, name: str, x: Tensor, y: Tensor) -> Tensor:
    gain, bias = (linear(y, weight(w, f"{name}.{part}"))[:, :, None, None] for part in ("gain", "bias"))
    return relu(batch_norm(x, w[f"{name}.stored_mean"], w[f"{name}.stored_var"]) * (1 + gain) + bias)


def attend(w: Weights, name: str, x: Tensor) -> Tensor:
    theta, phi, g = (conv(w, f"{name}.{part}", x) for part in ("theta", "phi", "g"))
    phi, g = max_pool2d(phi, 2).flatten(2), max_pool2d(g, 2).flatten(2)
    beta = torch.softmax(theta.flatten(2).mT @ phi, dim=-1)
    mixed = (g @ beta.mT).reshape(len(x), -1, *x.shape[2:])
    return w[f"{name}.gamma"] * conv(w, f"{name}.o", mixed) + x


def draw(w: Weights, z: Tensor, labels: Tensor, deep: bool) -> Tensor:
    y = w["shared.weight"][labels]
    first, *parts = (torch.cat([y, z], dim=1),) if deep else z.split(CHUNK, dim=1)
    x = linear(first, weight(w, "linear"), w["linear.bias"]).reshape(len(z), -1, 4, 4)
    for i in range(2 * STAGES if deep else STAGES):
        block = f"blocks.{i}.0"
        if deep:
            h = norm(w, f"{block}.bn2", conv(w, f"{block}.conv1", norm(w, f"{block}.bn1", x, first)), first)
            h, x = (interpolate(t, scale_factor=2) if i % 2 else t for t in (h, x))
            h = conv(w, f"{block}.conv3", norm(w, f"{block}.bn3", conv(w, f"{block}.conv2", h), first))
            x = x + conv(w, f"{block}.conv4", norm(w, f"{block}.bn4", h, first))
        else:
            condition = torch.cat([y, parts[i]], dim=1)
            h = conv(w, f"{block}.conv1", interpolate(norm(w, f"{block}.bn1", x, condition), scale_factor=2))
            h = conv(w, f"{block}.conv2", norm(w, f"{block}.bn2", h, condition))
            x = h + conv(w, f"{block}.conv_sc", interpolate(x, scale_factor=2))
        if f"blocks.{i}.1.gamma" in w:
            x = attend(w, f"blocks.{i}.1", x)
    out = "output_layer.0"
    x = batch_norm(x, w[f"{out}.stored_mean"], w[f"{out}.stored_var"], w[f"{out}.gain"], w[f"{out}.bias"])
    return torch.tanh(conv(w, "output_layer.2", relu(x)))


def inputs(deep: bool) -> tuple[Tensor, Tensor]:
    dim = CHUNK if deep else CHUNK * (STAGES + 1)
    return torch.randn(4, dim, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 4, 2, 2])


def saved(weights: Weights, folder: Path) -> Path:
    torch.save(weights, folder / "G_ema.pth")
    return folder / "G_ema.pth"


@pytest.mark.parametrize("deep", [False, True])
def test_an_imported_generator_draws_what_theirs_draws(deep: bool, tmp_path: Path) -> None:
    weights = biggan_deep() if deep else biggan()
    z, labels = inputs(deep)
    imported = import_generator(saved(weights, tmp_path))
    arch = imported.spec.arch
    assert arch.family == ("biggan-deep" if deep else "biggan")
    assert (arch.resolution, arch.classes, arch.latent.dim, arch.attention) == (32, CLASSES, z.shape[1], 16)
    expected = draw(weights, z, labels, deep)
    assert expected.std().item() > 0.1
    torch.testing.assert_close(imported.generator(z, labels), expected, rtol=0.0, atol=2e-5)


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
    np.testing.assert_allclose(found, draw(weights, z, labels, deep=False).numpy(), atol=2e-5)
    assert "G_ema.pth" in (out / "card.md").read_text()
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


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of the file ran')",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [({"linear.weight": Trap()}, "something else than tensors"), ({"state": {"a": 1}}, "is no state dict"),
     ({"linear.weight": torch.zeros(2, 2)}, "no generator of BigGAN-PyTorch")],
)  # fmt: skip
def test_files_that_are_no_generators_are_refused_and_run_no_code(content: object, reason: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "G.pth")
    with pytest.raises(ValueError, match=reason):
        import_generator(tmp_path / "G.pth")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        import_generator(tmp_path / "G.pth")
