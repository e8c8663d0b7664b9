"""A healthy training hears nothing from the sentinel: every small recipe, from its first steps on, at a twentieth of the
usual distance between two looks, where a training changes most."""

from __future__ import annotations

import pytest
import torch

from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Observed, Run, Warned
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.sentinel import Sentinel
from trainer.spec import SpecError, with_overrides

STEPS, EVERY = 60, 5
"""Twelve looks: the last three are judged, as many as a verdict takes."""
DIGITS = sorted(name for name in recipes() if name.endswith("-digits") and name != "biggan-deep-digits")
"""BigGAN-deep's took as long as all others together; it was silent, too."""


class Ear:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def handle(self, event: Event, run: Run) -> None:
        self.heard.append(event)

    def close(self) -> None:
        pass


def small(recipe: str):
    """The recipe as it is, but short, and with 8 px where its nets can."""
    spec = recipes()[recipe]()
    d_steps = spec.objective.d_steps
    changes = [
        f"train.images={STEPS * spec.train.batch * d_steps}", f"sentinel.every_steps={EVERY}", "data.held_out=200",
        "data.decode_threads=0", "evaluation.metrics=[]", "publish=null", "objective.d_warmup=null",
    ]  # fmt: skip
    try:
        return with_overrides(spec, [*changes, "arch.resolution=8"])
    except SpecError:
        return with_overrides(spec, changes)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("recipe", DIGITS)
def test_the_sentinel_is_silent_on_a_healthy_run(recipe, cache):
    spec = small(recipe)
    distributed = Distributed.create(spec, world=1)
    dataset = open_dataset(spec, cache_dir=cache)
    ear, state = Ear(), TrainState.create(spec, distributed)
    assert spec.sentinel is not None
    Loop(spec, state, distributed, dataset, [Sentinel(spec, spec.sentinel), ear]).run()
    looks = [event for event in ear.heard if isinstance(event, Observed)]
    assert [event.step for event in looks] == list(range(EVERY, STEPS + 1, EVERY))
    expected = {"sentinel/sigma_g", "sentinel/diversity"}
    if "D" in spec.arch.players:
        expected |= {"sentinel/sigma_d", "sentinel/d_gap"}
    assert expected <= set(looks[-1].metrics)
    assert [event.message for event in ear.heard if isinstance(event, Warned)] == []
