"""A search is refused at submit with the field, the value and the fix; what it accepts gives valid specs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.search import SearchSpec, parse_search
from trainer.search.space import active, draw, draw_values, grid, trial_spec
from trainer.spec import SpecError

LR = {"loguniform": [1e-5, 1e-1], "also": ["optimizers.D.lr"]}


def raw(**changes: Any) -> dict[str, Any]:
    return {"base": "gan-digits", "space": {"optimizers.G.lr": LR}, **changes}


def lines(**changes: Any) -> str:
    with pytest.raises(SpecError) as refused:
        parse_search(raw(**changes))
    return str(refused.value)


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"space": {"optimizers.G.lrr": {"uniform": [0, 1]}}}, "space.optimizers.G.lrr", "did you mean 'lr'"),
        ({"space": {"train.batch": [16, "many"]}}, "space.train.batch", '(got "many")'),
        ({"space": {"optimizers.G.lr": {"uniform": [-1, 1]}}}, "space.optimizers.G.lr", "greater than 0 (got -1.0)"),
        ({"space": {"train.batch": [33, 35]}}, "space", "none of 64 draws is a valid spec"),
        ({"space": {"optimizers.G.lr": {"loguniform": [1, 2, 3]}}}, "loguniform", "write loguniform: [low, high]"),
        ({"space": {"optimizers.G.lr": {"uniform": [2, 1]}}}, "space.optimizers.G.lr.high", "not above low"),
        ({"space": {"evaluation.samples": [100, 200]}}, "space.evaluation.samples", "can't be searched over"),
        ({"space": {"optimizers.G.lr": LR, "optimizers.D.lr": [1e-3, 1e-4]}}, "space.optimizers.D.lr", "two values"),
        ({"space": {"optimizers.G.lr": {**LR, "when": {"nope.x": 1}}}}, "space.optimizers.G.lr.when", "no field"),
        ({"algorithm": "grid"}, "space.optimizers.G.lr", "grid needs"),
        ({"algorithm": "pbt", "space": {"train.batch": [16, 32]}}, "space.train.batch", "can't change while"),
        ({"algorithm": "pbt", "trials": 1}, "trials", "population"),
        ({"metric": "precision"}, "metric", "one of fid, kid"),
        ({"base": {"recipe": "nope"}}, "base.recipe", "no such recipe"),
        ({"base": {"recipe": "gan-digits", "set": {"train.batchh": 3}}}, "base.train.batchh", "did you mean 'batch'"),
        ({"space": {}}, "space", "at least 1"),
        ({"trial": 3}, "trial", "did you mean 'trials'"),
    ],
)
def test_what_cannot_be_a_search_is_refused_with_the_field_and_the_fix(
    changes: dict[str, Any], path: str, says: str
) -> None:
    text = lines(**changes)
    assert path in text
    assert says in text


def test_conditions_in_a_circle_are_refused() -> None:
    space = {
        "optimizers.G.lr": {"choice": [1e-3, 1e-4], "when": {"optimizers.D.lr": 1e-3}},
        "optimizers.D.lr": {"choice": [1e-3, 1e-4], "when": {"optimizers.G.lr": 1e-3}},
    }
    assert "depends on itself" in lines(space=space)


def conditional() -> SearchSpec:
    space = {
        "objective.loss": ["non-saturating", "hinge"],
        "optimizers.D.lr": {"choice": [1e-4, 1e-3], "when": {"objective.loss": "hinge"}},
    }
    return parse_search(raw(space=space, algorithm="grid"))


def test_a_field_whose_condition_fails_keeps_the_bases_value_and_grid_has_no_doubles() -> None:
    search = conditional()
    found = list(grid(search.base, search.space))
    assert found == [
        {"objective.loss": "non-saturating"},
        {"objective.loss": "hinge", "optimizers.D.lr": 1e-4},
        {"objective.loss": "hinge", "optimizers.D.lr": 1e-3},
    ]
    kept = trial_spec(search, found[0], 0)
    assert kept.optimizers["D"].lr == search.base.optimizers["D"].lr
    assert trial_spec(search, found[1], 1).optimizers["D"].lr == 1e-4


def test_a_condition_on_a_field_of_the_base_holds_by_the_bases_value() -> None:
    search = parse_search(raw(space={"optimizers.G.lr": {**LR, "when": {"train.batch": 9999}}, "train.seed": [1, 2]}))
    assert active(search.base, search.space, {"optimizers.G.lr": 1e-3, "train.seed": 1}) == {"train.seed": 1}


def test_also_sets_the_same_value_elsewhere() -> None:
    spec = trial_spec(parse_search(raw()), {"optimizers.G.lr": 0.0123}, 7)
    assert spec.optimizers["G"].lr == spec.optimizers["D"].lr == 0.0123
    assert spec.name == "search-00007"


def test_a_trial_is_evaluated_evenly_saved_at_each_evaluation_and_registers_nothing() -> None:
    base = {"recipe": "gan-digits", "set": {"train.images": 6400, "train.batch": 64, "publish.model": "m"}}
    spec = trial_spec(parse_search(raw(base=base, evaluations=4)), {"optimizers.G.lr": 1e-3}, 0)
    assert spec.evaluation.every_steps == spec.checkpoint.every_steps == 25
    assert spec.publish is None


@settings(deadline=None)  # each builds a whole spec, on a machine that may be busy
@given(st.integers(0, 2**31 - 1))
def test_draws_are_in_range_of_the_fields_type_and_make_valid_specs(seed: int) -> None:
    space = {
        "optimizers.G.lr": {"loguniform": [1e-5, 1e-1]},
        "optimizers.G.beta1": {"quniform": [0.0, 0.9, 0.1]},
        "arch.g_hidden": {"kind": "randint", "low": 8, "high": 512, "log": True},
        "ema.decay": {"uniform": [0.9, 0.999]},
    }
    search = parse_search(raw(space=space))
    random = np.random.default_rng(seed)
    values = draw_values(search.base, search.space, random)
    assert 1e-5 <= values["optimizers.G.lr"] <= 1e-1  # type: ignore[operator]
    assert values["optimizers.G.beta1"] in [round(0.1 * i, 12) for i in range(10)]
    assert isinstance(values["arch.g_hidden"], int)
    assert 8 <= values["arch.g_hidden"] <= 512
    assert trial_spec(search, values, 0).ema is not None


def test_loguniform_gives_each_order_of_magnitude_its_share() -> None:
    distribution = parse_search(raw()).space["optimizers.G.lr"]
    random = np.random.default_rng(0)
    logs = np.log10([draw(distribution, random) for _ in range(4000)])  # type: ignore[list-item]
    shares = np.histogram(logs, bins=[-5, -4, -3, -2, -1])[0] / 4000
    assert np.abs(shares - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 4000)  # four standard errors


def test_the_direction_is_the_metrics_own_unless_given() -> None:
    metrics = {"recipe": "gan-digits", "set": {"evaluation.metrics": ["fid", "recall"]}}
    assert parse_search(raw()).minimises
    assert not parse_search(raw(base=metrics, metric="recall")).minimises
    assert parse_search(raw(base=metrics, metric="recall", mode="min")).minimises


THREE_BY_NINE = {"train.batch": [32, 64, 128], "train.seed": {"randint": [1, 9]}}
DEPENDENT = {
    "objective.loss": ["hinge", "non-saturating"],
    "train.seed": {"randint": [1, 9], "when": {"objective.loss": "hinge"}},
}


@pytest.mark.parametrize(
    ("fields", "trials", "extent"),
    [
        ({"algorithm": "grid", "space": THREE_BY_NINE}, 27, "27 trials, all combinations"),
        ({"algorithm": "grid", "space": THREE_BY_NINE, "trials": 16}, 16, "the last 11 are left out (trials: 27 takes all)"),
        ({"algorithm": "random", "space": THREE_BY_NINE, "trials": 26}, 26, "by chance 1 is left out"),
        ({"algorithm": "asha", "space": THREE_BY_NINE, "trials": 100}, 27, "27 trials, all combinations"),
        ({"algorithm": "random", "space": {"train.batch": [64, 64]}}, 1, "1 trial, the only combination"),
        ({"algorithm": "grid", "space": DEPENDENT}, 10, "10 trials, all combinations"),
        ({"algorithm": "pbt", "space": {"optimizers.G.lr": {"quniform": [1e-4, 3e-4, 1e-4]}}, "trials": 8}, 8, "8 trials"),
        ({"algorithm": "random", "space": {"optimizers.G.lr": {"loguniform": [1e-5, 1e-2]}}, "trials": 99}, 99, "99 trials"),
        ({"algorithm": "optuna", "space": {"train.seed": {"randint": [0, 2**31 - 1]}}, "trials": 99}, 99, "99 trials"),
    ],
)  # fmt: skip
def test_a_search_has_as_many_trials_as_its_space_has_combinations_at_most_and_says_what_it_leaves_out(
    fields: dict[str, Any], trials: int, extent: str
) -> None:
    search = parse_search({"base": "gan-digits", **fields})
    assert search.trials == trials
    assert extent in search.extent
    again = parse_search(search.model_dump(mode="json"))
    assert (again.trials, again.digest()) == (trials, search.digest())
