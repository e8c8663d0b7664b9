"""How much each field matters for a good score, by Optuna's PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255).

It asks how differently a field's values are spread among the best trials and among all, so it needs no scale for trials that
diverged (they are the worst) and allows for fields that only some trials have. Importing it imports Optuna.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from trainer.search.distributions import Choice, Distribution, LogUniform, QUniform, RandInt
from trainer.search.found import Found
from trainer.search.values import key

LEAST = 8
"""Finished trials below which chance decides more than any field."""
TOP_SHARE, TOP_COUNT = 0.25, 5
"""Which trials count as best: this share of all, or so many if that is more (of few trials at most half)."""


class NotKnown(Exception):  # noqa: N818 — no error: what is said instead of shares
    """Nothing can be said of importance; the message says why, in one line for a person."""


def importances(found: Found) -> dict[str, float]:
    """Share of each field, most important first; they sum to 1. Raises NotKnown."""
    count = len(found.finished)
    if count < LEAST:
        raise NotKnown(
            f"{count} of the trials {'has' if count == 1 else 'have'} finished; under {LEAST} it would be chance"
        )
    scores = [trial.score for trial in found.finished if trial.score is not None]
    if not scores or (len(set(scores)) == 1 and not found.diverged):
        raise NotKnown("all finished trials have one score" if scores else "all finished trials diverged")
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(TOP_SHARE, min(0.5, TOP_COUNT / count)))
    with _quiet():
        shares = get_param_importances(_study(found, scores), evaluator=evaluator)
    if not shares or max(shares.values()) == min(shares.values()) != 1.0:
        raise NotKnown("no field's values differ between the best trials and the others")
    return shares


def _study(found: Found, scores: list[float]) -> optuna.Study:
    """The finished trials as Optuna keeps them. Diverged ones get a score worse than every other."""
    span = max(scores) - min(scores) or 1.0
    worst = max(scores) + span if found.search.minimises else min(scores) - span
    study = optuna.create_study(direction="minimize" if found.search.minimises else "maximize")
    known = {path: _distribution(one) for path, one in found.search.space.items()}
    for trial in found.finished:
        values = {}
        for path, value in trial.current.items():
            if path in known and (internal := _internal(known[path], value)) is not None:
                values[path] = internal
        study.add_trial(
            optuna.create_trial(
                params=values,
                distributions={path: known[path] for path in values},
                value=worst if trial.score is None else trial.score,
            )
        )
    return study


def _distribution(one: Distribution) -> BaseDistribution:
    if isinstance(one, Choice):
        return CategoricalDistribution(tuple(dict.fromkeys(map(key, one.values))))
    if isinstance(one, RandInt):
        return IntDistribution(one.low, one.high, log=one.log)
    if isinstance(one, QUniform):
        return FloatDistribution(one.low, one.values()[-1], step=one.q)
    return FloatDistribution(one.low, one.high, log=isinstance(one, LogUniform))


def _internal(distribution: BaseDistribution, value: object) -> str | float | int | None:
    """The value as the distribution takes it; None for one that it doesn't hold (a search whose space was changed)."""
    if isinstance(distribution, CategoricalDistribution):
        text = key(value)  # type: ignore[arg-type]
        return text if text in distribution.choices else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(distribution, FloatDistribution) and distribution.low <= value <= distribution.high:
        return float(value)
    if isinstance(distribution, IntDistribution) and distribution.low <= value <= distribution.high:
        return round(value)
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna greets every study on the log and warns of what the page says in its own words."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
