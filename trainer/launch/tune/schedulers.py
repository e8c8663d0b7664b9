"""Tune's schedulers as searches use them: time is images, the score is the smoothed one, and what was known before a restart
of the driver is known again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler

from trainer.launch.tune.draws import SCORE, score_told
from trainer.search import Choice, Distribution, LogUniform, QUniform, RandInt, SearchSpec, TrialRecord

IMAGES = "images"


def scheduler_of(search: SearchSpec, known: Sequence[TrialRecord]) -> TrialScheduler:
    """The search's scheduler, knowing what earlier trials have reached."""
    if search.scheduler == "asha":
        return _asha(search, known)
    if search.scheduler == "pbt":
        return Population(search, {record.id: record.results[-1].images for record in known if record.results})
    return FIFOScheduler()


def _asha(search: SearchSpec, known: Sequence[TrialRecord]) -> AsyncHyperBandScheduler:
    total = search.base.train.images
    asha = AsyncHyperBandScheduler(
        time_attr=IMAGES,
        metric=SCORE,
        mode="min" if search.minimises else "max",
        max_t=total,
        grace_period=max(1, int(search.asha.grace * total)),
        reduction_factor=search.asha.reduction,
        stop_last_trials=False,  # a trial ends by itself at its full length
    )
    for record in known:
        trial = SimpleNamespace(trial_id=record.id)
        asha.on_trial_add(None, trial)
        for result in record.results:
            asha.on_trial_result(None, trial, {IMAGES: result.images, SCORE: result.score})
        if record.state.ended:
            told = score_told(search, record)
            last = record.results[-1].images if record.results else 0
            asha.on_trial_complete(None, trial, {} if told is None else {IMAGES: last, SCORE: told})
    return asha


class Population(PopulationBasedTraining):  # type: ignore[misc]
    """Population-based training whose members keep their values in the space's ranges."""

    def __init__(self, search: SearchSpec, reached: dict[str, int]) -> None:
        """reached: images of members that trained before a restart of the driver."""
        self._search, self._reached = search, reached
        interval = max(1, int(search.pbt.every * search.base.train.images))
        super().__init__(
            time_attr=IMAGES,
            metric=SCORE,
            mode="min" if search.minimises else "max",
            perturbation_interval=interval,
            hyperparam_mutations={"values": {path: domain(each) for path, each in search.space.items()}},
            quantile_fraction=search.pbt.quantile,
            resample_probability=search.pbt.resample,
            perturbation_factors=search.pbt.factors,
            custom_explore_fn=bounded(search),
            log_config=False,  # the trials' records say who took over whom
        )

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A member that trained before is looked at when it has trained on for a whole interval."""
        super().on_trial_add(tune_controller, trial)
        if (images := self._reached.get(trial.trial_id)) is not None:
            self._trial_state[trial].last_perturbation_time = images


def bounded(search: SearchSpec) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Puts perturbed numbers back into their ranges."""

    def within(config: dict[str, Any]) -> dict[str, Any]:
        values = {path: _clip(search.space[path], value) for path, value in config["values"].items()}
        return {**config, "values": values}

    return within


def _clip(distribution: Distribution, value: Any) -> Any:
    if isinstance(distribution, Choice | QUniform):
        return value
    return type(value)(min(max(value, distribution.low), distribution.high))


def domain(distribution: Distribution) -> Any:
    """As Tune draws anew and perturbs: numbers by factors, steps and choices to their neighbours."""
    if isinstance(distribution, Choice):
        return list(distribution.values)
    if isinstance(distribution, QUniform):
        return distribution.values()
    if isinstance(distribution, RandInt):
        draw = tune.lograndint if distribution.log else tune.randint
        return draw(distribution.low, distribution.high + 1)
    draw = tune.loguniform if isinstance(distribution, LogUniform) else tune.uniform
    return draw(distribution.low, distribution.high)
