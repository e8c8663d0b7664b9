"""Collapses that are provoked: seen for what they are, and acted on as the spec says."""

from __future__ import annotations

import hashlib

import pytest
import torch
from rollback_runs import Hook, train, warnings

from trainer.checkpoint import latest, step_path
from trainer.engine.events import Observed, RolledBack, RunFinished
from trainer.errors import CollapsedError
from trainer.families.table import recipes
from trainer.launch import compose
from trainer.spec import JobSpec, with_overrides

TIMES_50 = ["optimizers.G.lr=0.025", "optimizers.D.lr=0.025", "train.images=3072"]
STRONG_D = [
    "optimizers.D.lr=0.003", "optimizers.G.lr=0.00001", "objective.d_steps=5", "train.images=19200",
    "sentinel.least_diversity=null",
]  # fmt: skip
"""A G that hardly moves: D wins. Its saturation is to be seen without the pictures' help."""


def gan(*changes: str) -> JobSpec:
    """The recipe's own nets; a look every 3 steps, so judged from step 33 on."""
    base = [
        "sentinel.every_steps=3", "train.log_steps=3", "checkpoint.every_steps=20", "samples.every_steps=1000",
        "data.held_out=200", "data.decode_threads=0", "evaluation.metrics=[]",
    ]  # fmt: skip
    return with_overrides(recipes()["gan-digits"](), [*base, *changes])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(compose, "Reporting", compose.Reporting)


def digest(folder, step: int) -> str:
    return hashlib.sha256((step_path(folder / "checkpoints", step) / "state.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "reason", "step"),
    [
        (TIMES_50, "G has collapsed to one picture; lower the learning rates", 39),
        (STRONG_D, "D is saturated: .* lower optimizers.D.lr or objective.d_steps", 51),
    ],
    ids=["rates-x-50", "strong-d"],
)
def test_a_collapse_stops_the_training_with_a_checkpoint_and_a_reason(tmp_path, cache, changes, reason, step):
    hook = Hook()
    with pytest.raises(CollapsedError, match=reason):
        train(gan(*changes, "sentinel.policy=stop"), tmp_path, cache, hook)
    (end,) = hook.of(RunFinished)
    assert (end.outcome, end.step) == ("stopped", step + 1)  # a stop is honoured after the next step
    assert latest(tmp_path / "checkpoints") == step_path(tmp_path / "checkpoints", step + 1)


def test_a_collapse_is_told_once_under_warn_and_looking_changes_nothing(tmp_path, cache):
    hook = Hook()
    spec = gan(*TIMES_50)
    assert spec.sentinel is not None
    assert spec.sentinel.policy == "warn"
    assert train(spec, tmp_path / "seen", cache, hook) == "completed"
    assert len([message for message in warnings(hook) if "collapsed to one picture" in message]) == 1
    assert train(spec.replace(sentinel=None), tmp_path / "unseen", cache) == "completed"
    assert digest(tmp_path / "seen", 48) == digest(tmp_path / "unseen", 48)


def test_rolled_back_with_smaller_rates_the_training_gets_well(tmp_path, cache):
    """Six seeds got well, after one roll back to three, and ended at a diversity of 0.33 to 0.73."""
    hook = Hook()
    looks = ["sentinel.every_steps=12", "train.log_steps=12", "sentinel.policy=rollback", "sentinel.lr_factor=0.1"]
    spec = gan(*TIMES_50, *looks, "train.images=25600")
    assert train(spec, tmp_path, cache, hook) == "completed"
    (event,) = hook.of(RolledBack)
    assert "G has collapsed to one picture" in event.reason
    assert (event.step, event.lr_factor) == (0, 0.1)  # never healthy: it begins anew
    assert hook.of(Observed)[-1].metrics["sentinel/diversity"] > 0.2
