"""The rules are pure: they say what a run of looks means, and nothing else decides."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.sentinel.history import WINDOW, History
from trainer.sentinel.rules import D_GAP, D_MARGIN, DIVERSITY, SIGMA_D, SIGMA_G, observe, score
from trainer.spec.sentinel import Sentinel

HEALTHY = {SIGMA_G: 5.0, SIGMA_D: 4.0, DIVERSITY: 0.8, D_MARGIN: 3.0, D_GAP: 0.1}
SETTINGS = Sentinel()


def watched(looks, spec=SETTINGS, history=None):
    """(history, verdicts as (step, rule)) after looks at steps 100, 200, …"""
    history, verdicts = history or History(), []
    for values in looks:
        step = max(0, history.step) + 100
        history, symptoms = observe(history, step, values, spec)
        verdicts += [(step, symptom.rule) for symptom in symptoms]
    return history, verdicts


SICK = {
    "diversity": {DIVERSITY: 0.02},
    "d-saturation": {D_MARGIN: 9.0},
    "d-gap": {D_GAP: 0.97},
}


@pytest.mark.parametrize("rule", SICK)
def test_a_symptom_counts_once_it_was_seen_patience_times_in_a_row(rule):
    healthy, sick = [HEALTHY] * WINDOW, {**HEALTHY, **SICK[rule]}
    history, verdicts = watched([*healthy, sick, sick, HEALTHY, sick, sick])
    assert verdicts == []
    assert history.healthy == 100 * (WINDOW + 3)
    history, verdicts = watched([*healthy, sick, sick, sick])
    assert verdicts == [(100 * (WINDOW + 3), rule)]
    assert history.healthy == 100 * WINDOW


@pytest.mark.parametrize("player", [SIGMA_G, SIGMA_D])
def test_sigma_explodes_by_its_growth_and_not_by_its_size(player):
    start = [HEALTHY] * 2 * WINDOW
    slow = [{**HEALTHY, player: HEALTHY[player] * 1.1**n} for n in range(60)]  # × 2.6 in ten looks, × 300 in all
    assert watched(start + slow)[1] == []
    fast = [{**HEALTHY, player: HEALTHY[player] * 1.5**n} for n in range(9)]
    rule = "sigma-g" if player == SIGMA_G else "sigma-d"
    assert watched(start + fast)[1][0] == (100 * (2 * WINDOW + 7), rule)  # × 5 at the fifth, and patience


def test_weights_that_grow_from_a_tiny_start_are_no_explosion():
    grown = [{**HEALTHY, SIGMA_D: 0.1 * 2.0**n} for n in range(WINDOW)]
    assert watched(grown + [{**HEALTHY, SIGMA_D: 60.0}] * 30)[1] == []


def test_the_first_looks_give_no_verdict_but_are_not_called_healthy():
    """A checkpoint from a run that was sick from the start is nothing to return to."""
    history, verdicts = watched([{**HEALTHY, DIVERSITY: 0.0}] * WINDOW)
    assert (verdicts, history.healthy) == ([], 0)
    history, verdicts = watched([{**HEALTHY, DIVERSITY: 0.0}] * SETTINGS.patience, history=history)
    assert [rule for _, rule in verdicts] == ["diversity"]
    assert history.healthy == 0


def test_a_rule_that_is_switched_off_says_nothing():
    off = Sentinel(sigma_growth=None, least_diversity=None, d_margin=None, d_gap=None, score_factor=None)
    wild = {SIGMA_G: 1e6, SIGMA_D: 1e6, DIVERSITY: 0.0, D_MARGIN: 99.0, D_GAP: 1.0}
    assert watched([HEALTHY] * 2 * WINDOW + [wild] * 9, off)[1] == []
    history = History()
    for step, value in enumerate([1.0, *[99.0] * 9], 1):
        history, symptoms = score(history, step, "fid", value, higher=False, settings=off)
        assert symptoms == []


@pytest.mark.parametrize(("higher", "good", "bad"), [(False, 10.0, 31.0), (True, 0.9, 0.29)])
def test_a_score_is_judged_against_its_best_over_several_evaluations(higher, good, bad):
    def verdicts(values):
        history, found = History(), []
        for step, value in enumerate(values, 1):
            history, symptoms = score(history, step, "x", value, higher=higher, settings=SETTINGS)
            found += [symptom.rule for symptom in symptoms]
        return found

    assert verdicts([good, bad, bad, good, bad, bad]) == []
    assert verdicts([bad, good, bad, bad, bad]) == ["score"]
    assert verdicts([bad] * 9) == []
    assert verdicts([good, math.nan, bad, math.inf, bad, 0.0]) == []


def test_a_score_that_is_told_again_after_a_restart_counts_once():
    history = History()
    for step in (1, 2, 2, 2, 2):
        history, symptoms = score(history, step, "fid", 1.0 if step == 1 else 9.0, higher=False, settings=SETTINGS)
    assert (history.streaks, symptoms) == ({"score": 1}, [])


def test_nothing_is_healthy_while_the_score_is_suspicious():
    history, _ = watched([HEALTHY] * 12)
    for step, value in ((1200, 1.0), (1201, 9.0)):
        history, _ = score(history, step, "fid", value, higher=False, settings=SETTINGS)
    history, _ = watched([HEALTHY] * 3, history=history)
    assert history.healthy == 1200


values = st.dictionaries(
    st.sampled_from([SIGMA_G, SIGMA_D, DIVERSITY, D_MARGIN, D_GAP]),
    st.floats(allow_nan=True, allow_infinity=True) | st.floats(0.0, 1.0),
)


@examples(60)
@given(st.lists(values, max_size=40), st.integers(0, 40))
def test_a_history_that_was_saved_and_read_again_judges_the_same(looks, cut):
    whole, verdicts = watched(looks)
    before, first = watched(looks[:cut])
    after, rest = watched(looks[cut:], history=History.model_validate_json(before.model_dump_json()))
    assert (after, first + rest) == (whole, verdicts)
    assert len(whole.model_dump_json()) < 4000  # it lies in every checkpoint


@examples(60)
@given(st.lists(values, min_size=1, max_size=40))
def test_whatever_is_seen_the_last_healthy_step_is_before_every_running_streak(looks):
    history, _ = watched(looks)
    streak = max(history.streaks.values(), default=0)
    assert history.healthy <= history.step - 100 * streak
    assert all(math.isfinite(value) for look in history.looks for value in look.values.values())


@examples(40)
@given(st.lists(st.sampled_from([0.0, 0.04, 0.05, 0.9]), max_size=60))
def test_the_diversity_rule_equals_counting_by_hand(series):
    _, verdicts = watched([{DIVERSITY: value} for value in series])
    expected = [
        (100 * (n + 1), "diversity")
        for n in range(len(series))
        if n >= WINDOW + SETTINGS.patience - 1 and all(v < 0.05 for v in series[n - SETTINGS.patience + 1 : n + 1])
    ]
    assert verdicts == expected
