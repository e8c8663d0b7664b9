"""Import of BigGAN-PyTorch's discriminators: state dicts in the layout of that code give the logits that it would give."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from biggan_theirs import CH, CLASSES, TABLES, Layout, Weights, biggan, discriminator, judge, saved
from torch import Tensor
from typer.testing import CliRunner

from trainer.checksums import verify_checksums
from trainer.families.biggan.arch import BigganArch, BigganBase
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.families.table import family
from trainer.publish.__main__ import app
from trainer.publish.biggan_discriminator import _places, fit, import_discriminator, theirs
from trainer.publish.biggan_pytorch import import_generator
from trainer.publish.discriminator import FILE, load, save
from trainer.publish.portable.generator import Generator


def arch_of_g(resolution: int, depth: int = 0, attention: tuple[int, ...] | None = None) -> Any:
    fields: dict[str, Any] = {
        "resolution": resolution,
        "classes": CLASSES,
        "g_width": 16,
        "d_width": 16,
        "attention": attention,
    }
    return BigganDeepArch(**fields, blocks=depth) if depth else BigganArch(**fields, skip_z=False)


def judged(resolution: int, n: int = 3) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(2)
    return torch.rand(n, 3, resolution, resolution, generator=source) * 2 - 1, torch.tensor([0, 4, 2])[:n]


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize(("resolution", "attention"), [(32, None), (128, (64, 16))])
def test_an_imported_discriminator_judges_as_theirs(
    resolution: int, attention: tuple[int, ...] | None, depth: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    attended = (0, 2) if attention else ()
    weights = discriminator(resolution, depth, attended)
    arch, net, _ = import_discriminator(saved(weights, tmp_path), arch_of_g(resolution, depth, attention))
    assert (arch.d_width, arch.g_width) == (CH, 16)
    images, labels = judged(resolution, n=2)
    wide = {name: value.to(dtype) for name, value in weights.items()}
    expected = judge(wide, images.to(dtype), labels, depth)
    found = net.to(dtype)(images.to(dtype), labels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    assert expected.std().item() > 0.1
    other = net(images.to(dtype), (labels + 1) % CLASSES)
    assert (other - found).abs().min().item() > 1e-3  # the labels count


class Shapes(Layout):
    """The same without values."""

    def draw(self, name: str, *shape: int, scale: float = 1.0) -> None:
        self.found[name] = torch.zeros(()).expand(shape)


@pytest.mark.parametrize(("deep", "resolution"), [key for key in TABLES if key[1] != 64])
def test_each_size_of_their_discriminators_has_our_names_and_shapes(deep: bool, resolution: int) -> None:
    depth = 2 * deep
    at = tuple(size for size in (64, 16) if resolution > 32 and size < resolution)
    attended = tuple((resolution // size).bit_length() - 2 for size in at)
    weights = discriminator(resolution, depth, attended, Shapes())
    arch = fit(weights, arch_of_g(resolution, depth, at or None))
    with torch.device("meta"):
        net: Any = type(family(arch.family)).discriminator(arch)
    named = {theirs(name, _places(arch)): tuple(value.shape) for name, value in net.state_dict().items()}
    found = {name: shape if name[-2:] != "u0" else (1, *shape) for name, shape in named.items() if name}
    assert found == {name: tuple(value.shape) for name, value in weights.items() if not name.endswith("sv0")}


WRITTEN: dict[str, Callable[[Weights], object]] = {
    "--num_D_SVs 2": lambda w: w | {n[:-1] + "1": value * 2 for n, value in w.items() if n.endswith(("u0", "sv0"))},
    "DataParallel": lambda w: {f"module.{name}": value for name, value in w.items()},
    "a pair of nets": lambda w: {f"D.{name}": value for name, value in w.items()} | {"G.linear.weight": torch.ones(1)},
    "a checkpoint": lambda w: {"epoch": 3, "state_dict": w},
    "all nets": lambda w: {
        "D": w,
        "G": {"linear.weight": torch.ones(1, 2)},
        "G_ema": {"linear.weight": torch.ones(1, 2)},
    },
}


@pytest.mark.parametrize("written", WRITTEN)
def test_however_the_file_was_written_it_judges_the_same(written: str, tmp_path: Path) -> None:
    weights, (images, labels) = discriminator(), judged(32)
    _, net, _ = import_discriminator(saved(WRITTEN[written](weights), tmp_path), arch_of_g(32))
    torch.testing.assert_close(net(images, labels), judge(weights, images, labels), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("weights", "arch", "reason"),
    [
        (lambda: discriminator(), arch_of_g(128), "resolution 32 px, G's 128 px"),
        (lambda: discriminator(), arch_of_g(32).model_copy(update={"classes": 7}), f"classes {CLASSES}, G's 7"),
        (lambda: discriminator(), arch_of_g(32).model_copy(update={"channels": 1}), "channels 3, G's 1"),
        (lambda: discriminator(), arch_of_g(32, attention=(16,)), "attention nowhere, G's at 16 px"),
        (lambda: discriminator(32, 0, (0, 1, 2, 3)), arch_of_g(32, attention=(16,)),
         "attention at 16, 8, 8, 8 px, G's at 16 px"),
        (lambda: discriminator(128, 0, (0,)), arch_of_g(128, attention=(32,)), "attention at 64 px, G's at 32 px"),
        (lambda: discriminator(32, 3), arch_of_g(32, depth=2), "blocks of a stage 3, G's 2"),
        (lambda: discriminator(32, 2), arch_of_g(32), "is a discriminator of biggan-deep, and G is of biggan"),
        (lambda: discriminator(64), arch_of_g(64),
         "its stages have 8, 16, 32, 64, 128 channels, and those of biggan at 64 px 16, 32, 64, 128, 128"),
        (lambda: discriminator(64, 2), arch_of_g(64, depth=2), "its stages have 16, 32, 64, 128 channels"),
        (biggan, arch_of_g(32), "is a generator: give it as FILE"),
        (lambda: {"linear.weight": torch.zeros(1, 2), "x": torch.zeros(1)}, arch_of_g(32), "blocks.0.0.conv1.weight, embed.weight missing"),
        (lambda: discriminator() | {"embed.weight": torch.zeros(())}, arch_of_g(32), "embed.weight missing or of another shape"),
        (lambda: discriminator() | {"extra": torch.zeros(1)}, arch_of_g(32),
         "differs from the D of biggan at 32 px: extra is not known"),
        (lambda: discriminator() | {"blocks.99999999999.1.gamma": torch.zeros(())}, arch_of_g(32),
         "blocks.99999999999.1.gamma is not known"),
        (lambda: discriminator() | {"linear.weight": torch.zeros(2, 4 * CH)}, arch_of_g(32),
         "linear.weight is [2, 32], not [1, 32]"),
    ],
)  # fmt: skip
def test_a_discriminator_that_is_no_partner_of_g_is_refused_with_both_values(
    weights: Callable[[], Weights], arch: BigganBase, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        import_discriminator(saved(weights(), tmp_path), arch)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("blocks.1.0.conv2.weight", float("nan"), "holds NaN or infinity (1 of"), ("embed.u0", None, "embed.u0 is all zeros"),
     ("blocks.0.0.conv_sc.weight", None, "blocks.0.0.conv_sc.weight has the spectral norm 0")],
)  # fmt: skip
def test_values_that_no_discriminator_can_run_with_are_named(
    name: str, value: float | None, reason: str, tmp_path: Path
) -> None:
    weights = discriminator()
    if value is None:
        weights[name].zero_()
    else:
        weights[name].view(-1)[3] = value
    with pytest.raises(ValueError, match=re.escape(reason)):
        import_discriminator(saved(weights, tmp_path), arch_of_g(32))


def imported(folder: Path, g: Weights, d: Weights) -> tuple[int, str, Path]:
    """Exit code and output of the command, and the folder that it is to make."""
    torch.save(g, folder / "G_ema.pth")
    torch.save(d, folder / "D.pth")
    arguments = [str(folder / "G_ema.pth"), str(folder / "model"), "--discriminator", str(folder / "D.pth")]
    done = CliRunner().invoke(app, ["import", "biggan-pytorch", *arguments])
    return done.exit_code, " ".join(done.output.split()), folder / "model"


@pytest.mark.long
def test_the_package_holds_the_discriminator_and_gives_it_back(tmp_path: Path) -> None:
    d, (images, labels) = discriminator(), judged(32)
    code, output, out = imported(tmp_path, biggan(attended=()), d)
    assert code == 0, output
    torch.testing.assert_close(load(out)(images, labels), judge(d, images, labels), rtol=1e-5, atol=1e-4)
    config = json.loads((out / "config.json").read_text())
    assert (config["discriminator"], config["arch"]["d_width"]) == (FILE, CH)
    assert FILE in json.loads((out / "checksums.json").read_text())
    verify_checksums(out)
    assert "from `D.pth`" in (out / "card.md").read_text()
    assert json.loads((out / "scores.json").read_text())["lineage"]["discriminator"] == "D.pth"
    assert Generator(out).sample(n=1).shape == (1, 32, 32, 3)


def test_a_discriminator_that_does_not_fit_leaves_no_package(tmp_path: Path) -> None:
    code, output, out = imported(tmp_path, biggan(attended=(1,)), discriminator())
    assert code == 1
    assert "D.pth: is no discriminator for this G: attention nowhere, G's at 16 px" in output
    assert not out.exists()


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Weights]:
    """As much of a package of a BigGAN-deep as its D needs, and that D."""
    weights = discriminator(depth=2)
    arch, net, _ = import_discriminator(saved(weights, tmp_path), arch_of_g(32, depth=2))
    config = {"family": arch.family, "arch": arch.model_dump(mode="json"), "discriminator": FILE}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save(net, tmp_path)
    return tmp_path, weights


def test_what_is_kept_judges_as_before(kept: tuple[Path, Weights]) -> None:
    (folder, weights), (images, labels) = kept, judged(32)
    expected = judge(weights, images, labels, depth=2)
    torch.testing.assert_close(load(folder)(images, labels), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"classes": CLASSES + 1}, "is not the D of its config.json"), ({"d_width": 16}, "is not the D of its config.json")],
)  # fmt: skip
def test_weights_of_another_discriminator_are_refused(
    changed: dict[str, int], reason: str, kept: tuple[Path, Weights]
) -> None:
    config = json.loads((kept[0] / "config.json").read_text())
    config["arch"] |= changed
    (kept[0] / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=re.escape(reason)):
        load(kept[0])


def test_what_a_package_lacks_is_said(kept: tuple[Path, Weights]) -> None:
    (kept[0] / FILE).unlink()
    with pytest.raises(ValueError, match="is not the D of"):
        load(kept[0])
    (kept[0] / "config.json").unlink()
    with pytest.raises(ValueError, match="is no package"):
        load(kept[0])


def test_a_discriminator_in_gs_place_is_told_its_option(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give G_ema.pth or G.pth as FILE, and this one by --discriminator"):
        import_generator(saved(discriminator(), tmp_path))
