"""A healthy training hears nothing from the sentinel: every small recipe, from its first steps on, at a twentieth of the
usual distance between two looks, where a training changes most."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Observed, Run, Warned
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.sentinel import Sentinel
from trainer.sentinel.history import WINDOW
from trainer.spec import JobSpec, SpecError, with_overrides
from trainer.spec.sentinel import Sentinel as Settings

LOOKS = WINDOW + Settings().patience
"""As many as a verdict takes: one fewer, and nothing could be told."""
EVERY = 5
SLOW = {"cgan-digits": 20}
"""Steps between two looks where a generator is slow to begin: cgan's diversity stays near 0.05 for its first 120 steps."""
DIGITS = sorted(name for name in recipes() if name.endswith("-digits") and name != "biggan-deep-digits")
"""BigGAN-deep's took as long as all others together; it was silent, too."""
AT_ONCE = {"gan-digits"}
"""What `make test` looks at. The others follow in `make test-long`."""


class Ear:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def handle(self, event: Event, run: Run) -> None:
        self.heard.append(event)

    def close(self) -> None:
        pass


def small(recipe: str, *changes: str) -> JobSpec:
    """The recipe as it is, but short, and with 8 px where its nets can."""
    spec, every = recipes()[recipe](), SLOW.get(recipe, EVERY)
    short = [
        f"train.images={LOOKS * every * spec.train.batch * spec.objective.d_steps}", f"sentinel.every_steps={every}",
        "data.held_out=200", "data.decode_threads=0", "evaluation.metrics=[]", "publish=null", "objective.d_warmup=null",
    ]  # fmt: skip
    try:
        return with_overrides(spec, [*short, *changes, "arch.resolution=8"])
    except SpecError:
        return with_overrides(spec, [*short, *changes])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("cache")


def watched(spec: JobSpec, cache: Path) -> tuple[list[Observed], list[str], int]:
    """The looks at a training, what was told, and the newest step that was healthy."""
    assert spec.sentinel is not None
    distributed = Distributed.create(spec, world=1)
    ear, sentinel = Ear(), Sentinel(spec, spec.sentinel)
    dataset = open_dataset(spec, cache_dir=cache)
    Loop(spec, TrainState.create(spec, distributed), distributed, dataset, [sentinel, ear]).run()
    looks = [event for event in ear.heard if isinstance(event, Observed)]
    return looks, [event.message for event in ear.heard if isinstance(event, Warned)], sentinel.healthy


@pytest.mark.parametrize(
    "recipe", [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.long) for name in DIGITS]
)
def test_the_sentinel_is_silent_on_a_healthy_run(recipe, cache):
    spec = small(recipe)
    looks, told, healthy = watched(spec, cache)
    every = SLOW.get(recipe, EVERY)
    assert [event.step for event in looks] == list(range(every, LOOKS * every + 1, every))
    expected = {"sentinel/sigma_g", "sentinel/diversity"}
    if "D" in spec.arch.players:
        expected |= {"sentinel/sigma_d", "sentinel/d_gap"}
    assert expected <= set(looks[-1].metrics)
    assert told == []
    assert healthy == LOOKS * every


def test_looked_at_as_often_a_ruined_training_is_told_of(cache):
    """The control: rates × 4,000 saturate G's sigmoids and D's logits within ten steps."""
    _, told, healthy = watched(small("gan-digits", "optimizers.G.lr=2.0", "optimizers.D.lr=2.0"), cache)
    assert any("collapsed to one picture" in message for message in told)
    assert any("D is saturated" in message for message in told)
    assert healthy < WINDOW * EVERY
