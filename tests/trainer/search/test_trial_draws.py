"""Trial n has the same values whenever it is drawn; population-based training keeps values in range; nothing is counted twice."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from ray.tune.schedulers import TrialScheduler
from ray.tune.utils import flatten_dict

from trainer.launch.tune import draws as draws_module
from trainer.launch.tune.book import Book
from trainer.launch.tune.draws import Drawer, NoValidDrawError, score_told
from trainer.launch.tune.limits import Limits
from trainer.launch.tune.progress import Progress
from trainer.launch.tune.schedulers import bounded, domain, scheduler_of
from trainer.launch.tune.source import Draws
from trainer.launch.tune.wishes import Wishes
from trainer.search import SearchSpec, TrialRecord, TrialResult, TrialState, parse_search
from trainer.search.space import Values
from trainer.search.trial import trial_id

SPACE = {
    "optimizers.G.lr": {"loguniform": [1e-5, 1e-1]},
    "objective.loss": ["non-saturating", "hinge", "least-squares"],
    "optimizers.D.lr": {"loguniform": [1e-4, 1e-2], "when": {"objective.loss": "hinge"}},
    "optimizers.G.beta1": {"quniform": [0.0, 0.9, 0.1]},
}


def a_search(algorithm: str, **changes: Any) -> SearchSpec:
    recipe = {"recipe": "gan-digits", "set": {"optimizers.G.kind": "adam", "optimizers.D.kind": "adam"}}
    return parse_search({"base": recipe, "space": SPACE, "algorithm": algorithm, "trials": 12, "seed": 3, **changes})


def drawn(search: SearchSpec, count: int, score: Any = lambda values: 1.0) -> list[Values]:
    drawer, found = Drawer(search, []), []
    for number in range(count):
        values = drawer.draw(number)
        assert values is not None
        found.append(values)
        drawer.complete(trial_id(number), score(values))
    return found


@pytest.mark.parametrize("algorithm", ["random", "asha", "optuna", "asha+optuna"])
def test_the_same_seed_samples_the_same_specs_and_another_seed_others(algorithm: str) -> None:
    search = a_search(algorithm)
    assert drawn(search, 8) == drawn(search, 8)
    assert drawn(search, 8) != drawn(search.replace(seed=4), 8)
    assert len({values["optimizers.G.lr"] for values in drawn(search, 8)}) == 8  # and each trial its own


def test_a_field_whose_condition_fails_is_not_drawn() -> None:
    for values in drawn(a_search("random"), 12):
        assert ("optimizers.D.lr" in values) == (values["objective.loss"] == "hinge")


@pytest.mark.parametrize("algorithm", ["random", "optuna"])
@examples(25)
@given(split=st.integers(0, 9), ended=st.lists(st.booleans(), min_size=9, max_size=9))
def test_a_search_that_goes_on_draws_what_it_would_have_drawn(algorithm: str, split: int, ended: list[bool]) -> None:
    search = a_search(algorithm, trials=9)

    def score(values: Values) -> float:
        return float(abs(np.log10(float(values["optimizers.G.lr"])) + 3))  # type: ignore[arg-type]

    straight, first = Drawer(search, []), []
    whole = []
    for number in range(9):
        values = straight.draw(number)
        assert values is not None
        whole.append(values)
        done = ended[number]
        if done:
            straight.complete(trial_id(number), score(values))
        if number < split:
            result = TrialResult(step=1, images=1, value=score(values), score=score(values), spread=0.0, seconds=0.0)
            state = TrialState.COMPLETED if done else TrialState.RUNNING
            first.append(TrialRecord(id=trial_id(number), number=number, values=values, state=state, results=(result,)))
    again = Drawer(search, first)
    rest = []
    for number in range(split, 9):
        rest.append(again.draw(number))
        if ended[number]:
            again.complete(trial_id(number), score(whole[number]))
    assert rest == whole[split:]


def test_tpe_draws_better_values_than_chance() -> None:
    def loss(values: Values) -> float:
        return float((np.log10(float(values["optimizers.G.lr"])) + 3) ** 2)  # type: ignore[arg-type]

    space = {"optimizers.G.lr": SPACE["optimizers.G.lr"]}
    late = {
        name: np.median([loss(v) for seed in range(3) for v in drawn(a_search(name, space=space, seed=seed, trials=40), 40, loss)[25:]])
        for name in ("random", "optuna")
    }  # fmt: skip
    assert late["optuna"] < late["random"] / 3


def test_a_grid_is_drawn_in_order_and_ends() -> None:
    search = a_search("grid", space={"objective.loss": ["hinge", "least-squares"], "train.seed": [1, 2]})
    drawer = Drawer(search, [])
    found = [drawer.draw(number) for number in range(5)]
    assert [(v["objective.loss"], v["train.seed"]) for v in found if v] == [
        ("hinge", 1), ("hinge", 2), ("least-squares", 1), ("least-squares", 2)
    ]  # fmt: skip
    assert found[4] is None


def test_invalid_samples_are_drawn_again_and_a_space_without_valid_ones_is_given_up() -> None:
    search = a_search("random", space={"train.batch": [16, 33, 35, 37], "train.seed": {"randint": [0, 5]}})
    assert {values["train.batch"] for values in drawn(search, 6)} == {16}
    hopeless = search.model_copy(
        update={"space": parse_search({"base": "gan-digits", "space": {"train.batch": [16, 33]}}).space}
    )
    only_bad = hopeless.space["train.batch"].model_copy(update={"values": (33, 35)})
    with pytest.raises(NoValidDrawError, match=r"of 100 draws|none is a valid spec; the last one: train\.batch"):
        Drawer(hopeless.model_copy(update={"space": {"train.batch": only_bad}}), []).draw(0)


def test_a_diverged_trial_is_the_worst_and_a_failed_one_says_nothing() -> None:
    search = a_search("random")
    record = TrialRecord(id="t-00000", number=0, values={}, state=TrialState.DIVERGED)
    assert score_told(search, record) == 1e12
    assert score_told(search.replace(mode="max"), record) == -1e12
    assert score_told(search, record.replace(state=TrialState.FAILED)) is None


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_perturbed_values_stay_in_their_range_and_keep_their_type(seed: int) -> None:
    space = {
        "optimizers.G.lr": {"loguniform": [1e-4, 2e-4]},
        "optimizers.G.beta1": {"quniform": [0.0, 0.9, 0.1]},
        "objective.d_steps": {"randint": [1, 5]},
    }
    search = a_search("pbt", space=space)
    random.seed(seed)
    np.random.seed(seed)
    scheduler: Any = scheduler_of(search, [])
    source = {
        "values": {"optimizers.G.lr": 2e-4, "optimizers.G.beta1": 0.9, "objective.d_steps": 5},
        "search_file": "x",
    }
    target, operations = scheduler._get_new_config(None, SimpleNamespace(config=source))
    values = target["values"]
    assert 1e-4 <= values["optimizers.G.lr"] <= 2e-4
    assert values["optimizers.G.beta1"] in domain(search.space["optimizers.G.beta1"])
    assert type(values["objective.d_steps"]) is int
    assert 1 <= values["objective.d_steps"] <= 5
    assert set(operations["values"]) == set(space)
    assert source["values"]["optimizers.G.lr"] == 2e-4
    assert bounded(search)(target) == target


def _record(number: int, score: float, images: int = 1600, state: TrialState = TrialState.COMPLETED) -> TrialRecord:
    result = TrialResult(step=images // 64, images=images, value=score, score=score, spread=0.0, seconds=1.0)
    return TrialRecord(id=trial_id(number), number=number, state=state, values={}, results=(result,), images=images)


def test_successive_halving_knows_after_a_restart_what_it_knew_before() -> None:
    base = {"recipe": "gan-digits", "set": {"train.images": 6400}}
    search = parse_search(
        {"base": base, "space": {"optimizers.G.lr": [1e-3, 1e-4]}, "algorithm": "asha", "asha": {"grace": 0.25}}
    )

    def decides(score: float, known: list[TrialRecord]) -> str:
        asha: Any = scheduler_of(search, known)
        trial = SimpleNamespace(trial_id="t-00009")
        asha.on_trial_add(None, trial)
        decision: str = asha.on_trial_result(None, trial, {"images": 1600, "score": score})
        return decision

    known = [_record(number, score) for number, score in enumerate((1.0, 2.0, 3.0))]
    assert decides(5.0, known) == TrialScheduler.STOP
    assert decides(0.5, known) == TrialScheduler.CONTINUE
    assert decides(5.0, []) == TrialScheduler.CONTINUE


# -- what trials write down


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12), st.integers(1, 5))
def test_a_score_is_the_mean_of_the_last_evaluations_and_spread_their_deviation(
    values: list[float], smooth: int
) -> None:
    progress = Progress()
    for index, value in enumerate(values):
        progress = progress.scored(index + 1, 10 * (index + 1), value, smooth=smooth, shown=10, seconds=1.0)
    last = progress.results[-1]
    assert last.score == pytest.approx(np.mean(values[-smooth:]))
    assert last.spread == pytest.approx(np.std(values[-smooth:]), abs=1e-6)
    assert (progress.images, progress.seconds) == (10 * len(values), pytest.approx(len(values)))


def test_after_a_restart_evaluations_behind_the_checkpoint_are_forgotten_and_told_again() -> None:
    progress = Progress()
    for step, value in ((10, 4.0), (20, 2.0), (30, 1.0)):
        progress = progress.scored(step, step, value, smooth=2, shown=10, seconds=1.0)
    resumed = progress.since(20)
    assert [result.step for result in resumed.results] == [10, 20]
    again = resumed.scored(20, 20, 2.0, smooth=2, shown=0, seconds=0.0).scored(
        30, 30, 1.0, smooth=2, shown=10, seconds=1.0
    )
    assert [(result.step, result.score) for result in again.results] == [(10, 4.0), (20, 3.0), (30, 1.5)]
    assert again.images == 40  # what was shown twice was spent twice


def test_the_best_is_by_the_searchs_direction_and_never_a_diverged_or_failed_trial(tmp_path: Path) -> None:
    search = a_search("random")
    book = Book(search, tmp_path, lambda record: None)
    for number in range(4):
        book.add(number, {})
    for number, (score, state) in enumerate(
        [(5.0, TrialState.STOPPED), (3.0, TrialState.COMPLETED), (1.0, TrialState.DIVERGED), (2.0, TrialState.FAILED)]
    ):
        book.change(trial_id(number), state=state, results=_record(number, score).results)
    assert book.best() is not None
    assert book.best().id == "t-00001"  # type: ignore[union-attr]
    highest = Book(search.replace(mode="max"), tmp_path, lambda record: None)
    assert highest.best().id == "t-00000"  # type: ignore[union-attr]
    assert [record.number for record in highest.records] == [0, 1, 2, 3]


def test_a_search_ends_at_its_budget_and_says_which(tmp_path: Path) -> None:
    spent = {"images": 4000, "seconds": 100.0}
    for budget, reason in (({"images": 3200}, "3,200 images"), ({"seconds": 99}, "99 s"), ({"images": 4001}, None)):
        search = a_search("asha", budget=budget)
        book = Book(search, tmp_path, lambda record: None)
        book.add(0, {})
        book.change("t-00000", results=_record(0, 1.0).results, images=spent["images"])
        limits = Limits(book, SimpleNamespace(seconds=spent["seconds"]), Wishes())  # type: ignore[arg-type]
        assert limits.stop_all() == (reason is not None)
        assert (reason or "not among the best at 1,600 images") in limits.why("t-00000")


def test_one_trial_ends_when_it_is_asked_to_and_the_others_go_on(tmp_path: Path) -> None:
    book = Book(a_search("random"), tmp_path, lambda record: None)
    wishes = Wishes()
    limits = Limits(book, SimpleNamespace(seconds=0.0), wishes)  # type: ignore[arg-type]
    wishes.stop_trials.add("t-00001")
    assert [limits(name, {}) for name in ("t-00000", "t-00001")] == [False, True]
    assert limits.why("t-00001") == "stopped as asked"


def test_evaluations_that_a_killed_driver_never_heard_of_are_told_one_by_one(tmp_path: Path) -> None:
    search = a_search("random")
    book = Book(search, tmp_path, lambda record: None)
    book.add(0, {})
    progress = Progress()
    for step in (10, 20, 30):
        progress = progress.scored(step, step * 64, float(step), smooth=1, shown=640, seconds=1.0)
        if step == 10:
            book.progressed("t-00000", progress, state=TrialState.RUNNING)
    progress.write(tmp_path / "trials" / "t-00000")
    told: list[TrialRecord] = []
    Book(search, tmp_path, told.append).catch_up()
    assert [record.results[-1].step for record in told] == [20, 30, 30]
    assert told[-1].state is TrialState.PENDING
    assert (told[-1].images, told[-1].results) == (1920, progress.results)


@pytest.mark.parametrize(("algorithm", "live"), [("random", [1, 1, 4]), ("pbt", [12, 12, 12])])
def test_a_held_search_keeps_one_trial_going_and_a_population_together(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, live: list[int]
) -> None:
    """After being held from the start, after one trial has ended, and after others no longer wait."""
    held = True
    space = {"optimizers.G.lr": SPACE["optimizers.G.lr"]}
    draws = Draws(a_search(algorithm, space=space), [], lambda values: {}, lambda number, values: None, lambda: held)

    def started(self: Draws, number: int, values: Values) -> str:
        self._live.add(trial_id(number))
        return trial_id(number)

    monkeypatch.setattr(Draws, "_trial", started)

    def fill() -> int:
        while draws.next_trial() is not None:
            continue
        return len(draws._live)

    found = [fill()]
    if algorithm == "random":
        assert draws.is_finished(), "Tune keeps no actor for a trial that won't come now"
        result = {"score": 1.0, "state": "stopped", "progress": {"results": [{"step": 5}]}}
        draws.on_trial_complete("t-00000", flatten_dict(result))
        assert not draws.is_finished(), "the next one comes"
    found.append(fill())
    held = False
    assert [*found, fill()] == live


def _trained(search: SearchSpec, count: int = 200) -> list[Values]:
    """What trials would train, as long as there are any, with the drawer started anew now and then as after a kill."""
    drawn: list[Values] = []
    drawer = Drawer(search, [])
    for number in range(min(search.trials, count)):
        if number % 3 == 2:
            drawer = Drawer(search, [_ended(n, values) for n, values in enumerate(drawn)])
        if (values := drawer.draw(number)) is None:
            break
        drawn.append(values)
    return drawn


def _ended(number: int, values: Values) -> TrialRecord:
    result = TrialResult(step=1, images=1, value=1.0 + number, score=1.0 + number, spread=0, seconds=1)
    return TrialRecord(
        id=f"t-{number:05d}", number=number, state=TrialState.COMPLETED, values=values, results=(result,)
    )


@pytest.mark.long
@pytest.mark.parametrize("algorithm", ["random", "optuna", "asha", "asha+optuna", "grid"])
@pytest.mark.parametrize("trials", [2, 6, 16])
def test_a_finite_space_is_gone_through_once_and_nothing_is_trained_twice(algorithm: str, trials: int) -> None:
    space = {"train.batch": [32, 64, 128], "train.seed": {"randint": [0, 1]}}
    search = a_search(algorithm, space=space, trials=trials)
    drawn = [json.dumps(values, sort_keys=True) for values in _trained(search)]
    assert search.trials == len(drawn) == len(set(drawn)) == min(trials, 6)


def test_combinations_that_are_no_valid_spec_are_passed_over_and_the_others_are_all_trained() -> None:
    space = {"train.batch": [32, 33, 64, 65, 66], "train.seed": [0, 1]}  # lanes must divide the batch
    drawn = _trained(a_search("random", space=space, trials=10))
    assert sorted((values["train.batch"], values["train.seed"]) for values in drawn) == [
        (32, 0),
        (32, 1),
        (64, 0),
        (64, 1),
    ]


def test_the_few_valid_combinations_among_many_are_all_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws_module, "TRIES", 2)  # so that draws find hardly any
    space = {"train.batch": [32, *range(33, 45, 2), 64, *range(65, 77, 2), 96]}
    for seed in range(5):
        drawn = _trained(a_search("random", space=space, trials=20, seed=seed))
        assert sorted(values["train.batch"] for values in drawn) == [32, 64, 96]


def test_a_population_is_whole_also_where_its_first_values_must_repeat() -> None:
    search = a_search("pbt", space={"optimizers.G.lr": {"quniform": [1e-4, 3e-4, 1e-4]}}, trials=5)
    rates = [values["optimizers.G.lr"] for values in _trained(search)]
    assert len(rates) == search.trials == 5
    assert len(set(rates)) == 3
