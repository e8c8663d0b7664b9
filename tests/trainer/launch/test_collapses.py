"""Collapses that are provoked: seen for what they are, and acted on as the spec says.

Rates × 4,000 leave nothing to chance: G's sigmoids are saturated within ten steps, where they have no slope, so it draws
one picture for ever, and D's logits are in the tens of thousands. The rates after the roll back are healthy ones for so
small a net. Over ten seeds under each of four settings of instructions and threads: the collapsed G's diversity was 0.01
at most from the fourth look on (0.05 is the rule's), the healthy one's 0.3 at least from the tenth.
"""

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
from trainer.sentinel.history import WINDOW
from trainer.spec import JobSpec, with_overrides
from trainer.spec.sentinel import Sentinel

RUINED = ["optimizers.G.lr=2.0", "optimizers.D.lr=2.0"]
EVERY = 3
VERDICT = EVERY * (WINDOW + Sentinel().patience)
"""The first step that can have a verdict."""
ALONE = {
    "one-picture": ("sentinel.d_margin=null", "G has collapsed to one picture; lower the learning rates"),
    "sure-d": ("sentinel.least_diversity=null", "D is saturated: .* lower optimizers.D.lr or objective.d_steps"),
}
"""Each symptom without the other's help."""


def gan(*changes: str) -> JobSpec:
    """Ruined from its first steps on."""
    base = [
        "arch.resolution=8", "arch.g_hidden=128", "arch.d_hidden=32", *RUINED, f"sentinel.every_steps={EVERY}",
        f"train.images={64 * (VERDICT + 9)}", "train.log_steps=3", "checkpoint.every_steps=20",
        "samples.every_steps=1000", "data.held_out=200", "data.decode_threads=0", "evaluation.metrics=[]",
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


@pytest.mark.parametrize("symptom", ALONE)
def test_a_collapse_stops_the_training_with_a_checkpoint_and_a_reason(tmp_path, cache, symptom):
    alone, reason = ALONE[symptom]
    hook = Hook()
    with pytest.raises(CollapsedError, match=reason):
        train(gan(alone, "sentinel.policy=stop"), tmp_path, cache, hook)
    (end,) = hook.of(RunFinished)
    assert (end.outcome, end.step) == ("stopped", VERDICT + 1)  # a stop is honoured after the next step
    assert latest(tmp_path / "checkpoints") == step_path(tmp_path / "checkpoints", VERDICT + 1)


@pytest.mark.long
def test_a_collapse_is_told_once_under_warn_and_looking_changes_nothing(tmp_path, cache):
    hook = Hook()
    spec = gan()
    assert spec.sentinel is not None
    assert spec.sentinel.policy == "warn"
    assert train(spec, tmp_path / "seen", cache, hook) == "completed"
    assert len([message for message in warnings(hook) if "collapsed to one picture" in message]) == 1
    assert train(spec.replace(sentinel=None), tmp_path / "unseen", cache) == "completed"
    assert digest(tmp_path / "seen", VERDICT + 9) == digest(tmp_path / "unseen", VERDICT + 9)


@pytest.mark.long
def test_rolled_back_with_smaller_rates_the_training_gets_well(tmp_path, cache):
    hook = Hook()
    looks = ["sentinel.every_steps=8", "train.log_steps=8", "sentinel.policy=rollback", "sentinel.lr_factor=0.001"]
    assert train(gan(*looks, f"train.images={64 * 160}"), tmp_path, cache, hook) == "completed"
    (event,) = hook.of(RolledBack)
    assert "G has collapsed to one picture" in event.reason
    assert (event.step, event.lr_factor) == (0, 0.001)  # never healthy: it begins anew
    assert hook.of(Observed)[-1].metrics["sentinel/diversity"] > 0.1
