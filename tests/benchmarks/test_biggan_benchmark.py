"""The benchmark's plain BigGAN computes what the family computes, and its figures come out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.biggan import __main__ as benchmark
from benchmarks.biggan import plain
from benchmarks.biggan.measure import convolution_peak, flops, ratio
from benchmarks.biggan.processes import WARM, Member, Times, group, taking_turns
from trainer.families.arch import Latent
from trainer.families.biggan.arch import BigganArch
from trainer.families.biggan.nets import FAMILY
from trainer.nets.spectral import Spectral

ARCHS = {
    "cifar10": BigganArch(
        resolution=16, classes=3, latent=Latent(dim=6), g_width=8, d_width=8, shared_embedding=False, skip_z=False
    ),
    "imagenet": BigganArch(
        resolution=64, classes=3, latent=Latent(dim=10), g_width=8, d_width=8, attention=32, shared_dim=4
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", ARCHS)
def test_plain_and_fused_nets_are_one_function_with_one_gradient(name: str) -> None:
    torch.manual_seed(0)
    arch = ARCHS[name]
    ours = FAMILY.build(arch)
    slow: dict[str, nn.Module] = {"G": plain.Generator(arch), "D": plain.Discriminator(arch)}
    for player, net in ours.items():
        for part in net.modules():
            if isinstance(part, Spectral):
                for _ in range(20):
                    part.iterate()
            if hasattr(part, "gamma"):
                nn.init.constant_(part.gamma, 0.7)
        loaded = slow[player].load_state_dict(net.state_dict(), strict=False)
        assert loaded.missing_keys == []
        assert {key.rpartition(".")[2] for key in loaded.unexpected_keys} == {"sigma", "v"}
    z, labels = torch.randn(3, arch.latent.dim), torch.tensor([0, 2, 1])
    logits = []
    for nets in (ours, slow):
        judged = nets["D"](nets["G"](z, labels), labels)
        judged.square().mean().backward()
        logits.append(judged.detach())
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-3, atol=1e-4)
    for player, net in ours.items():
        gradients = {key: parameter.grad for key, parameter in slow[player].named_parameters()}
        largest = max(float(gradient.abs().max()) for gradient in gradients.values() if gradient is not None)
        for key, parameter in net.named_parameters():
            found, expected = parameter.grad, gradients[key]
            assert found is not None
            assert expected is not None
            # A bias before batch norm has the gradient 0, but for rounding.
            near = 0.02 * float(expected.abs().max()) + 1e-5 * largest
            torch.testing.assert_close(found, expected, rtol=0, atol=near, msg=f"{player}.{key}")


@pytest.mark.long
def test_flops_of_a_convolution_are_counted_with_its_backward_pass() -> None:
    layer, x = nn.Conv2d(3, 5, 3, padding=1), torch.randn(2, 3, 8, 8, requires_grad=True)
    assert flops(lambda: layer(x).sum().backward()) == 3 * 2 * 9 * 2 * 3 * 5 * 8 * 8


def test_a_ratio_is_the_median_over_the_turns() -> None:
    assert ratio([2.0, 4.0, 90.0], [1.0, 1.0, 1.0]) == 4.0
    assert convolution_peak(0.0, [(1, 2, 4)]) > 0


def test_a_quick_run_writes_rows_and_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(benchmark, "CASES", {"32 px": benchmark.CASES["32 px"]})
    # Processes of their own: below, and in the real run.
    monkeypatch.setattr(benchmark, "peak_memory", lambda make, spec: 2.0)
    slow = {"plain": 4.0, (2, 1): 1.25}
    monkeypatch.setattr(
        benchmark.processes,
        "taking_turns",
        lambda ways, repeats: {way: Times([slow.get(way, 1.0)], [0.5]) for way in ways},
    )
    monkeypatch.setattr(
        "sys.argv", ["biggan", "--quick", "--repeats", "1", "--threads", "1", "--out", str(tmp_path / "biggan.json")]
    )
    assert benchmark.main() == 0
    torch.set_num_threads(threads)
    written = json.loads((tmp_path / "biggan.json").read_text())
    rows = {row["step"]: row for row in written["rows"]}
    assert list(rows) == [
        "plain", "plain, freed memory kept", "ours, contiguous", "ours", "ours, bf16", "orthogonal regularisation × 5",
        "1 worker, 2 threads each", "2 workers, 1 thread each",
    ]  # fmt: skip
    assert rows["ours"]["gflop"] < 0.7 * rows["plain"]["gflop"]
    assert rows["ours"]["gflop"] < rows["ours, contiguous"]["gflop"]  # boxes, where maps are channels last
    targets = [target["target"] for target in written["targets"]]
    assert targets == ["≥ 2 ×", "≤ 1 of plain", "≤ 0.03 of a step", "≥ 0.8", "≥ 0.85 ×"]
    assert rows["ours"]["faster"] == written["targets"][0]["measured"] == 4.0
    assert rows["plain"]["gflop"] == rows["plain, freed memory kept"]["gflop"]
    assert written["targets"][-1]["measured"] == 0.8


def counting(start: int) -> Callable[[], object]:
    """A step that lasts, and fails if it is taken too often."""
    taken = iter(range(start))

    def step() -> None:
        next(taken)
        time.sleep(0.05)

    return step


def summing(world: int) -> Callable[[], object]:
    """A step that the members of a group take together."""
    torch.distributed.init_process_group("gloo", world_size=world, rank=int(os.environ["RANK"]))
    return lambda: torch.distributed.all_reduce(torch.ones(1))


@pytest.mark.long
def test_steps_take_turns_in_processes_of_their_own_and_the_members_of_a_group_step_together() -> None:
    ways = {"one": [Member(counting, (WARM + 3,), 1)], "two": group(summing, (), 2, 1)}
    times = taking_turns(ways, 3)
    assert all(len(found.seconds) == len(found.system) == 3 for found in times.values())
    assert all(seconds > 0.05 for seconds in times["one"].seconds)
    assert all(
        0.0 <= system < seconds for seconds, system in zip(times["one"].seconds, times["one"].system, strict=True)
    )


@pytest.mark.long
def test_a_step_that_fails_ends_the_measurement() -> None:
    with pytest.raises(RuntimeError, match=f"'one' failed in turn {WARM + 1}"):
        taking_turns({"one": [Member(counting, (WARM,), 1)]}, 1)
