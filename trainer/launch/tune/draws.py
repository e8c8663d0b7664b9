"""Which values the next trial has: Tune's Optuna searcher draws them, and every sample is a valid spec.

Trial n is `t-0000n` and has the same values whenever it is drawn, as long as scores don't steer the draws: the sampler of
each draw is seeded by (seed, n). So nothing has to be kept of a searcher but what the trials' records say.

Equal values train equal nets, so none are drawn twice while the space has others.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from pydantic import JsonValue
from ray.tune.search.optuna import OptunaSearch

from trainer.search import Choice, Distribution, LogUniform, QUniform, RandInt, SearchSpec, TrialRecord, TrialState
from trainer.search.space import Values, active_in, grid, key, trial_spec
from trainer.search.trial import trial_id
from trainer.spec import SpecError

TRIES = 100
"""Draws for one trial before the space is given up, if not one was a valid spec, or gone through in order, if none was new."""
SCORE = "score"


class NoValidDrawError(Exception):
    """The space gave no valid spec in `TRIES` draws; the message says why the last one wasn't."""


class PerDraw(BaseSampler):
    """A fresh sampler for each draw, so that a draw depends on (seed, n) and on the scores before it, on nothing else."""

    def __init__(self, search: SearchSpec) -> None:
        self._search = search
        self._now: BaseSampler = RandomSampler(seed=search.seed)

    def at(self, number: int, attempt: int) -> None:
        """From now on, draw for this trial."""
        seed = (self._search.seed * 1_000_003 + number * 101 + attempt) % 2**32
        if self._search.sampler == "tpe":
            startup = max(2, min(10, self._search.trials // 3))
            self._now = TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
        else:
            self._now = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the fresh sampler has it."""
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the fresh sampler draws."""
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the fresh sampler draws."""
        return self._now.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: OptunaState, values: Sequence[float] | None
    ) -> None:
        """As the fresh sampler has it."""
        self._now.after_trial(study, trial, state, values)


class Drawer:
    """Values of trials by number. One searcher, fed with what is known of earlier trials."""

    def __init__(self, search: SearchSpec, known: Sequence[TrialRecord]) -> None:
        self._search = search
        self._sampler = PerDraw(search)
        self._points: Iterator[Values] = grid(search.base, search.space)
        mode = "min" if search.minimises else "max"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self._searcher = OptunaSearch(self._define, metric=SCORE, mode=mode, sampler=self._sampler)
        self._keys: dict[str, str] = {}
        self._drawn: Values = {}
        self._raw = search.base.model_dump(mode="json")
        self._taken = {key(record.values) for record in known}
        for record in known:
            self._replay(record)

    def draw(self, number: int) -> Values | None:
        """Values of a new trial; None if the space has no more. Raises NoValidDrawError."""
        values = self._next_point(self._points, number) if self._search.sampler == "grid" else self._new(number)
        if values is not None:
            self._taken.add(key(values))
        return values

    def _new(self, number: int) -> Values | None:
        """A sample that no trial has had."""
        reason, repeated = "", None
        for attempt in range(TRIES):
            values = self._suggest(number, attempt)
            try:
                trial_spec(self._search, values, number)
            except SpecError as error:
                reason = error.errors[0].line()
            else:
                if key(values) not in self._taken:
                    self._keys[trial_id(number)] = _key(number, attempt)
                    return values
                repeated = values
            self._searcher.on_trial_complete(_key(number, attempt), error=True)
        left = self._left(number, repeated)
        exhausted = self._search.combinations is not None and bool(self._taken)
        if left is None and repeated is None and not exhausted:
            raise NoValidDrawError(f"of {TRIES} draws none is a valid spec; the last one: {reason}")
        return left

    def _left(self, number: int, repeated: Values | None) -> Values | None:
        """Where nothing new is drawn: the first combination that is left, or none. A population needs its members all the same."""
        left = None
        if self._search.combinations is not None:
            points = (v for v in grid(self._search.base, self._search.space) if key(v) not in self._taken)
            left = self._next_point(points, number)
        if left is None and (self._search.combinations is None or self._search.scheduler == "pbt"):
            left = repeated
        if left is not None:
            self._enqueue(left, number, TRIES)
        return left

    def _next_point(self, points: Iterator[Values], number: int) -> Values | None:
        """The next of these that is a valid spec."""
        for values in points:
            try:
                trial_spec(self._search, values, number)
            except SpecError:
                continue
            return values
        return None

    def complete(self, trial: str, score: float | None) -> None:
        """A trial has ended: its score, as it is told to the scheduler; None if it failed."""
        if self._search.sampler == "grid":
            return
        key = self._keys.get(trial)
        if key is not None:
            result = None if score is None else {SCORE: score, "training_iteration": 1}
            self._searcher.on_trial_complete(key, result=result, error=score is None)

    def _suggest(self, number: int, attempt: int) -> Values:
        self._sampler.at(number, attempt)
        self._searcher.suggest(_key(number, attempt))
        return dict(self._drawn)

    def _define(self, trial: Any) -> dict[str, Any]:
        """The space, defined by running: a field whose condition doesn't hold is not asked for."""
        drawn: Values = {}
        space = self._search.space
        for path in ordered(space):
            trying = {**drawn, path: None}
            if path in active_in(self._raw, {p: space[p] for p in trying}, trying):
                drawn[path] = suggest(trial, path, space[path])
        self._drawn = {path: drawn[path] for path in space if path in drawn}
        return {}

    def _replay(self, record: TrialRecord) -> None:
        """Make the searcher know an earlier trial."""
        if self._search.sampler == "grid":
            for values in self._points:  # invalid ones lie between
                if values == record.values:
                    return
            return
        self._enqueue(record.values, record.number, 0)
        if record.state.ended:
            self.complete(record.id, score_told(self._search, record))

    def _enqueue(self, values: Values, number: int, attempt: int) -> None:
        """Make the searcher draw these for the trial."""
        study = self._searcher._ot_study  # Tune's searcher takes no known points where the space is defined by running
        study.enqueue_trial({path: _told(value, self._search.space[path]) for path, value in values.items()})
        self._suggest(number, attempt)
        self._keys[trial_id(number)] = _key(number, attempt)


def score_told(search: SearchSpec, record: TrialRecord) -> float | None:
    """What a searcher learns of an ended trial: its score, the worst if it diverged, nothing if it failed."""
    from trainer.launch.tune.trial import WORST

    if record.state is TrialState.DIVERGED:
        return WORST if search.minimises else -WORST
    return None if record.state is TrialState.FAILED else record.score


def ordered(space: dict[str, Distribution]) -> list[str]:
    """Paths so that each comes behind those that its condition names."""
    found: list[str] = []

    def add(path: str) -> None:
        if path not in found:
            for other in space[path].when:
                if other in space:
                    add(other)
            found.append(path)

    for path in space:
        add(path)
    return found


def suggest(trial: Any, path: str, distribution: Distribution) -> JsonValue:
    """One value, asked of Optuna."""
    if isinstance(distribution, Choice):
        index = int(trial.suggest_categorical(path, list(range(len(distribution.values)))))
        return distribution.values[index]
    if isinstance(distribution, RandInt):
        return int(trial.suggest_int(path, distribution.low, distribution.high, log=distribution.log))
    if isinstance(distribution, QUniform):
        return distribution.values()[int(trial.suggest_int(path, 0, len(distribution.values()) - 1))]
    return float(
        trial.suggest_float(path, distribution.low, distribution.high, log=isinstance(distribution, LogUniform))
    )


def _told(value: JsonValue, distribution: Distribution) -> Any:
    """The value as Optuna knows it: choices and steps by their index, because a choice may be a list or a mapping."""
    if isinstance(distribution, Choice):
        return distribution.values.index(value)
    if isinstance(distribution, QUniform) and isinstance(value, float):
        return distribution.values().index(value)
    return value


def _key(number: int, attempt: int) -> str:
    return f"{trial_id(number)}.{attempt}"
