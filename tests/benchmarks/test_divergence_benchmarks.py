"""The benchmarks of divergences and of mixtures run, and count modes as they say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import divergence, gaussians


def run(benchmark: Any, arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    out = folder / "report.json"
    command = [benchmark.__name__, "--quick", "--out", str(out), "--pictures", str(folder), *arguments]
    monkeypatch.setattr(sys, "argv", command)
    assert benchmark.main() == 0
    report: dict[str, Any] = json.loads(out.read_text())
    assert report["quick"]
    return report


@pytest.mark.long
def test_a_quick_run_draws_both_pictures_of_divergences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run(divergence, [], tmp_path, monkeypatch)
    assert {path.name for path in tmp_path.glob("*.png")} == {"divergence-lines.png", "divergence-gaussians.png"}
    exact = {target["name"]: target["holds"] for target in report["targets"] if "exact" in target["name"]}
    assert len(exact) == 2
    assert all(exact.values())


@pytest.mark.long
def test_a_quick_run_trains_every_method_on_both_mixtures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run(gaussians, [], tmp_path, monkeypatch)
    assert {(row["method"], row["gaussians"]) for row in report["rows"]} == {
        (name, modes) for name in gaussians.METHODS for modes in (8, 25)
    }
    critic = {row["method"]: row["d_updates"] for row in report["rows"]}
    assert critic == {"gan": 1, "wgan": 100, "wgan-gp": 5, "wgan-paper": 100}  # 100 in each of the first 25 steps
    assert (tmp_path / "gaussians.png").exists()


@pytest.mark.parametrize("kind", ["8", "25"])
def test_coverage_is_of_the_modes_that_get_their_share(kind: str) -> None:
    mixture, generator = gaussians.mixtures()[kind], torch.Generator().manual_seed(0)
    modes = int(kind)
    data = mixture.draw(10_000, generator).flatten(1)
    all_of_it = mixture.coverage(data)
    assert all_of_it == {
        "modes": modes,
        "covered": modes,
        "touched": modes,
        "precision": pytest.approx(0.989, abs=0.005),
    }
    left_half = mixture.coverage(data[data[:, 0] < -0.2])
    assert left_half["covered"] == left_half["touched"] == {"8": 3, "25": 10}[kind]
    evenly = mixture.coverage(torch.rand(10_000, 2, generator=generator) * 2.5 - 1.25)
    assert evenly["covered"] == 0
    assert evenly["touched"] == modes
    off = mixture.coverage(data + torch.tensor([0.0, 4 * mixture.sigma]))
    assert off["covered"] == 0
