"""The verdict says what the curves say, and that nothing can be said where they say nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_doubles import small

from trainer.report.history import Curve, History
from trainer.report.verdict import Word, verdict
from trainer.sentinel.rules import DIVERSITY
from trainer.spec import JobSpec

SPEC = small("dcgan-digits")
STEPS = tuple(range(100, 3100, 100))


def scored(*values: float) -> History:
    steps = tuple(100 * (number + 1) for number in range(len(values)))
    return History(scores={"fid": Curve(steps, tuple(64 * step for step in steps), values)})


def looks(*diversity: float) -> dict[str, Curve]:
    return {DIVERSITY: Curve(STEPS[: len(diversity)], (), diversity)}


def word(history: History, ended: bool = True) -> Word:
    found = verdict(SPEC, history, ended=ended)
    assert found is not None
    return found.word


def test_samples_that_are_all_alike_at_the_end_are_a_collapse_whatever_the_scores_say():
    history = History(looks(*[0.9] * 20, *[0.001] * 10), scored(9.0, 8.0, 7.9, 7.8, 7.8).scores)
    found = verdict(SPEC, history, ended=True)
    assert found is not None
    assert found.word is Word.COLLAPSED
    assert "collapsed to one picture" in found.reason


def test_a_collapse_that_passed_is_none():
    assert (
        word(History(looks(*[0.9] * 12, *[0.001] * 6, *[0.9] * 12), scored(9.0, 8.0, 7.9, 7.8, 7.8).scores))
        is Word.FINE
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((100.0, 80.0, 60.0, 40.0, 30.0, 20.0), Word.UNDERTRAINED),
        ((100.0, 20.0, 10.0, 9.9, 10.1, 9.8), Word.FINE),
        ((100.0, 20.0, 10.0, 12.0, 14.0, 15.0), Word.PAST_BEST),
        ((100.0, 20.0, 10.0), Word.TOO_FEW),
        ((10.0,), Word.TOO_FEW),
        ((9.0, 8.0, 8.0, 90.0, 90.0, 90.0, 90.0, 90.0), Word.COLLAPSED),
    ],
)
def test_the_trend_of_the_score_decides(values, expected):
    assert word(scored(*values)) is expected


def test_of_a_short_training_it_is_said_what_is_missing_and_what_would_bring_it():
    def said(history: History, spec: JobSpec = SPEC) -> tuple[str, str]:
        found = verdict(spec, history, ended=True)
        assert found is not None
        return found.word.value, found.reason

    more = "evaluation.every_steps of at most 750 makes as many in a training of this length."
    takes = "whether it still got better takes 4 scores, and"
    once = {"fid": Curve((3000,), (192_000,), (10.0,))}
    assert said(History(scores=once)) == ("Too few scores", f"{takes} there is one: {more}")
    watched = looks(*[0.9] * 30)
    assert said(History(watched, once)) == ("Too few scores", f"no sign of collapse; {takes} there is one: {more}")
    assert said(History(watched)) == ("Not scored", f"no sign of collapse; {takes} there is none: {more}")
    short = said(History(scores={"fid": Curve((3,), (), (10.0,))}))
    assert "train.images makes it longer" in short[1]
    unscored = SPEC.replace(evaluation=SPEC.evaluation.replace(metrics=()))
    assert said(History(watched), unscored) == (
        "Not scored", "no metric scores it; evaluation.metrics names some.",
    )  # fmt: skip


def test_of_precision_higher_is_better():
    spec = SPEC.replace(evaluation=SPEC.evaluation.replace(metrics=("precision",)))
    rising = History(scores={"precision": Curve((1, 2, 3, 4, 5), (), (0.1, 0.2, 0.4, 0.6, 0.8))})
    found = verdict(spec, rising, ended=True)
    assert found is not None
    assert found.word is Word.UNDERTRAINED


def test_a_training_that_goes_on_is_not_judged_by_its_length_and_one_without_curves_not_at_all():
    assert word(scored(100.0, 80.0, 60.0, 40.0), ended=False) is Word.RUNNING
    assert verdict(SPEC, History(), ended=True) is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12), st.booleans())
def test_whatever_the_scores_are_there_is_a_verdict_with_a_reason(values, ended):
    found = verdict(SPEC, scored(*values), ended=ended)
    assert found is None or found.reason.endswith(".")
    if values and all(math.isfinite(value) for value in values):
        assert found is not None
