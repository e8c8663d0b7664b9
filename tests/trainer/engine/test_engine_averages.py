"""What is sampled, scored and exported of a moving average is of the averaged weights, and using it changes no training."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from engine_doubles import parameters, stepper
from safetensors.torch import load_file
from torch import Tensor, nn

from trainer.checkpoint.files import write
from trainer.checkpoint.nets import load_nets
from trainer.engine.distributed import Distributed
from trainer.engine.sampling import sample
from trainer.engine.standing import standing
from trainer.families.table import recipes
from trainer.nets.spectral import Spectral
from trainer.publish.package import assemble
from trainer.spec import JobSpec, with_overrides


def biggan_spec(*changes: str) -> JobSpec:
    """A tiny BigGAN at a rate at which averages and weights part within a few steps."""
    base = [
        "arch.resolution=8", "arch.latent.dim=8", "data.lanes=4", "train.batch=8", "train.images=640",
        "resources.workers=1", "optimizers.G.lr=1e-2", "evaluation.standing_batches=2",
    ]  # fmt: skip
    return with_overrides(recipes()["biggan-digits"](), base + list(changes))


def assert_own(net: nn.Module) -> None:
    """That the net's spectral norms are those of its own weights."""
    found = ratios(net)
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-5, atol=0.0)


def ratios(net: nn.Module) -> Tensor:
    """σ̂ as the net's passes use it ÷ σ by a singular value decomposition, of each normalised layer."""
    layers = [part for part in net.modules() if isinstance(part, Spectral)]
    largest = [torch.linalg.svdvals(layer.weight.double().flatten(1))[0] for layer in layers]
    used = [layer.weight.norm() / layer.normalised().norm() for layer in layers]
    return torch.stack([a / b for a, b in zip(used, largest, strict=True)])


@pytest.mark.parametrize("decay", [0.999, 0.9999])
def test_an_average_is_normalised_by_its_own_weights_when_it_is_used(decay: float, distributed: Distributed) -> None:
    runner = stepper(biggan_spec(f"ema.decay={decay}"), distributed)
    for _ in range(8):
        runner.step()
    assert ratios(runner.state.averages["G"]).min().item() < 0.95  # by the vectors of the net that it averages
    assert_own(runner.state.generator)
    for net in (
        standing(runner.state.family, runner.state.spec, runner.state.generator),
        copy.deepcopy(runner.state.net("G")),
    ):
        assert_own(net)
    runner.step()
    assert ratios(runner.state.averages["G"]).min().item() < 0.95
    assert_own(runner.state.generator)


def test_a_training_whose_average_is_used_computes_the_bits_of_one_whose_is_not(distributed: Distributed) -> None:
    used, unused = (stepper(biggan_spec(), distributed) for _ in range(2))
    for _ in range(3):
        sample(used.state.family, used.state.spec.arch, used.state.generator, n=2, seed=0)
        for runner in (used, unused):
            runner.step()
    ours, theirs = parameters(used.state), parameters(unused.state)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_net_without_an_average_keeps_the_vectors_that_it_trains_with(distributed: Distributed) -> None:
    runner = stepper(biggan_spec("ema=null"), distributed)
    runner.step()
    before = parameters(runner.state)
    assert runner.state.generator is runner.state.players["G"].net
    assert all(torch.equal(value, before[name]) for name, value in runner.state.tensors().items())


def test_a_checkpoint_whose_average_has_the_live_vectors_gives_the_same_generator(
    distributed: Distributed, tmp_path: Path
) -> None:
    """All checkpoints of older versions have them, and so has each that was written before its average was used."""
    runner = stepper(biggan_spec("ema.decay=0.999"), distributed)
    for _ in range(5):
        runner.step()
    loaded = load_nets(write(tmp_path, 5, runner.state.tensors(), runner.state.meta()))
    assert ratios(loaded.averages["G"]).min().item() < 0.95
    ours, theirs = runner.state.generator.state_dict(), loaded.net("G").state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_package_holds_the_average_by_its_own_norms(distributed: Distributed, tmp_path: Path) -> None:
    runner = stepper(biggan_spec("ema.decay=0.999"), distributed)
    for _ in range(5):
        runner.step()
    names = tuple(map(str, range(10)))
    package = assemble(runner.state, tmp_path / "model", class_names=names, record={}, card=lambda path: path.touch())
    weights = load_file(package / "model.safetensors")
    live = runner.state.players["G"].net.state_dict()
    for name in [name for name in weights if name.endswith(".u")]:
        weight = weights[name.removesuffix("u") + "weight"].flatten(1)
        norm = torch.dot(weights[name], weight @ weights[name.removesuffix("u") + "v"])
        assert norm.item() == pytest.approx(torch.linalg.svdvals(weight)[0].item(), rel=1e-5)
    assert any(not torch.equal(weights[name], live[name]) for name in weights if name.endswith(".u"))
