"""Schedules and warm-ups are pure functions of progress; each against its definition."""

from __future__ import annotations

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer.engine.players import momentum
from trainer.objective.phases import d_updates
from trainer.spec import Objective, Sgd
from trainer.spec.optim import Schedule
from trainer.spec.sections import DWarmup

shares = st.floats(0, 1)


@given(st.floats(0, 0.99), st.floats(1e-6, 1), shares)
def test_geometric_holds_and_then_falls_in_equal_ratios_to_final(start: float, final: float, progress: float) -> None:
    """The closed form: exp(log(final) · t) with t from 0 at `start` to 1 at the end."""
    schedule = Schedule(kind="geometric", start=start, final=final)
    images = round(progress * 1_000_000)
    t = max(0.0, (images / 1e6 - start) / (1 - start))
    assert schedule.factor(images, 1_000_000, 7) == pytest.approx(exp(log(final) * t), rel=1e-9)


def test_geometric_of_a_hundredth_passes_a_tenth_half_way() -> None:
    schedule = Schedule(kind="geometric", start=0.5, final=0.01)
    values = [schedule.factor(images, 100, 0) for images in (0, 50, 75, 100, 130)]
    assert values == pytest.approx([1.0, 1.0, 0.1, 0.01, 0.01])


def test_geometric_rises_in_its_warmup_as_the_others() -> None:
    schedule = Schedule(kind="geometric", final=0.01, warmup_images=10)
    assert schedule.factor(5, 100, 0) == pytest.approx(0.5 * 0.01**0.05)


def test_geometric_without_a_final_is_refused() -> None:
    with pytest.raises(ValidationError):
        Schedule(kind="geometric")


@given(shares, st.floats(0, 0.99), st.floats(0, 0.99), st.integers(1, 10_000), st.integers(1, 10_000))
def test_momentum_rises_over_its_own_images_and_then_stays(
    progress: float, first: float, last: float, over: int, total: int
) -> None:
    settings = Sgd(momentum=first, final_momentum=last, momentum_images=over)
    images = round(2 * progress * over)
    expected = last if images >= over else first + (last - first) * images / over
    assert momentum(settings, images, total) == pytest.approx(expected)


def test_momentum_rises_over_the_whole_training_unless_it_is_told_otherwise() -> None:
    settings = Sgd(momentum=0.5, final_momentum=0.7)
    assert [momentum(settings, images, 200) for images in (0, 100, 200, 300)] == pytest.approx([0.5, 0.6, 0.7, 0.7])
    assert momentum(settings.replace(momentum_images=100), 100, 200) == pytest.approx(0.7)
    assert momentum(settings.replace(final_momentum=None, momentum_images=100), 100, 200) == 0.5


def naive(warmup: DWarmup, last: int) -> list[int]:
    """Arjovsky's loop: a counter of generator steps, the first `steps` long ones, then every `every`-th."""
    long_steps = []
    for step in range(last):
        is_long = step < warmup.steps
        if warmup.every is not None:
            is_long = is_long or step in range(0, last, warmup.every)
        if is_long:
            long_steps.append(step)
    return long_steps


@given(st.integers(0, 40), st.none() | st.integers(1, 30), st.integers(1, 200))
def test_the_critics_warmup_applies_to_the_first_steps_and_then_to_every_so_many(
    steps: int, every: int | None, last: int
) -> None:
    warmup = DWarmup(steps=steps, every=every)
    assert [step for step in range(last) if warmup.applies(step)] == naive(warmup, last)


def test_the_authors_warmup_has_100_updates_in_25_steps_and_in_each_500th() -> None:
    repeats = d_updates(Objective(loss="wasserstein", d_steps=5, d_warmup=DWarmup()))
    long_steps = [step for step in range(1501) if repeats(step) == 100]
    assert long_steps == [*range(25), 500, 1000, 1500]
    assert {repeats(step) for step in range(1501)} == {5, 100}
    assert d_updates(Objective(d_steps=3))(0) == 3
