"""What is to be said of a training in one line: a pure reading of its curves, by the sentinel's own rules and its scores.

It says what the curves show and no more: where too little was measured, that it can't be said, and what would say it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trainer.checkpoint.keep import metric_of
from trainer.report.history import Curve, History
from trainer.sentinel import rules
from trainer.sentinel.history import History as Looks
from trainer.spec import JobSpec
from trainer.spec.sections import HIGHER_IS_BETTER
from trainer.spec.sentinel import Sentinel

LEAST_SCORES = 4
"""Fewer evaluations than this show no trend."""
CHANGE = 0.1
"""A smaller part of a score is no change: that is about what two evaluations of one net differ by."""
COLLAPSES = ("sigma-g", "sigma-d", "diversity", rules.SCORE)
"""Symptoms of the generator's end; the others say that it learns little, or what D knows by heart."""


class Word(StrEnum):
    """How a training looks."""

    COLLAPSED = "Collapsed"
    AT_RISK = "At risk"
    UNDERTRAINED = "Undertrained"
    PAST_BEST = "Past its best"
    FINE = "Fine"
    RUNNING = "In training"
    NOT_SCORED = "Not scored"
    TOO_FEW = "Too few scores"


@dataclass(frozen=True)
class Verdict:
    """One line: the word, and why."""

    word: Word
    reason: str


def verdict(spec: JobSpec, history: History, *, ended: bool) -> Verdict | None:
    """Of a training as far as its curves go; None if there are none at all."""
    if not history.metrics and not history.scores:
        return None
    symptoms = _symptoms(spec, history)
    for name, message in symptoms.items():
        if name in COLLAPSES:
            return Verdict(Word.COLLAPSED, f"{message}.")
    for message in symptoms.values():
        return Verdict(Word.AT_RISK, f"{message}.")
    metric = metric_of(spec)
    curve = history.scores.get(metric) if metric else None
    if not ended:
        return Verdict(Word.RUNNING, "it goes on, and nothing wrong is seen so far.")
    if metric is None or curve is None or len(curve.values) < LEAST_SCORES:
        return _without_trend(metric, curve, history)
    return _trend(metric, curve, kept=spec.checkpoint.keep.best > 0)


def _symptoms(spec: JobSpec, history: History) -> dict[str, str]:
    """What the sentinel says at the end of the training; with its default settings, if the job had none."""
    settings = spec.sentinel or Sentinel()
    looks: dict[int, dict[str, float]] = {}
    for name, curve in history.metrics.items():
        if name.startswith("sentinel/"):
            for step, value in zip(curve.steps, curve.values, strict=True):
                looks.setdefault(step, {})[name] = value
    seen, found = Looks(), dict[str, str]()
    for step in sorted(looks):
        seen, symptoms = rules.observe(seen, step, looks[step], settings)
        found = {symptom.rule: symptom.message for symptom in symptoms}
    metric = metric_of(spec)
    scored = history.scores.get(metric or "")
    if metric and scored:
        for step, value in zip(scored.steps, scored.values, strict=True):
            higher = metric in HIGHER_IS_BETTER
            seen, symptoms = rules.score(seen, step, metric, value, higher=higher, settings=settings)
            found = {name: message for name, message in found.items() if name != rules.SCORE}
            found |= {symptom.rule: symptom.message for symptom in symptoms}
    return found


def _without_trend(metric: str | None, curve: Curve | None, history: History) -> Verdict:
    """What is missing for one, and what would bring it in a training of this length."""
    if metric is None:
        return Verdict(Word.NOT_SCORED, "no metric scores it; evaluation.metrics names some.")
    times = len(curve.values) if curve else 0
    has = {0: "there is none", 1: "there is one"}.get(times, f"there are {times}")
    steps = [step for curves in (history.metrics, history.scores) for of in curves.values() for step in of.steps[-1:]]
    every = max(steps, default=0) // LEAST_SCORES
    way = (
        f"evaluation.every_steps of at most {every:,} makes as many in a training of this length"
        if every
        else "train.images makes it longer, so that evaluation.every_steps can ask for as many"
    )
    watched = any(name.startswith("sentinel/") and of.values for name, of in history.metrics.items())
    seen = "no sign of collapse; " if watched else ""
    reason = f"{seen}whether it still got better takes {LEAST_SCORES} scores, and {has}: {way}."
    return Verdict(Word.TOO_FEW if times else Word.NOT_SCORED, reason)


def _trend(metric: str, curve: Curve, *, kept: bool) -> Verdict:
    """By the score's last third: whether it still got better, got worse, or stayed."""
    better = max if metric in HIGHER_IS_BETTER else min
    cut = len(curve.values) - max(1, len(curve.values) // 3)
    before, late, last = better(curve.values[:cut]), better(curve.values[cut:]), curve.values[-1]
    best = better(before, late)
    if _gain(metric, before, late) >= CHANGE and _gain(metric, last, best) < CHANGE:
        reason = f"{metric} went from {before:.4g} to {late:.4g} in the last third and may go on; train.images makes it longer."
        return Verdict(Word.UNDERTRAINED, reason)
    if _gain(metric, last, best) >= 2 * CHANGE:
        at = _place(curve, best)
        still = "; that checkpoint is kept" if kept else ""
        reason = f"{metric} was {best:.4g} {at} and is {last:.4g} at the end{still}."
        return Verdict(Word.PAST_BEST, reason)
    reason = f"no sign of collapse, and {metric} hardly changed in the last third ({before:.4g} before, {last:.4g} at the end)."
    return Verdict(Word.FINE, reason)


def _gain(metric: str, worse: float, better: float) -> float:
    """How much of the worse score the better one is away from it; below 0 if it isn't better."""
    difference = better - worse if metric in HIGHER_IS_BETTER else worse - better
    return difference / max(abs(worse), 1e-12)


def _place(curve: Curve, value: float) -> str:
    index = curve.values.index(value)
    counts: Sequence[int] = curve.images or curve.steps
    return f"after {counts[index]:,} {'images' if curve.images else 'steps'}"
