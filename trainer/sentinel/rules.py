"""When a training counts as collapsed: pure rules over a history of looks. docs/sentinel.md gives the reasons.

A look that shows a symptom lengthens its rule's streak, one that doesn't ends it; a streak of `patience` is a verdict.
The first `WINDOW` looks lengthen none, because the first steps are wild, but those that show one don't count as healthy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from trainer.sentinel.history import WINDOW, History, Look, Symptom
from trainer.spec.sentinel import Sentinel

SIGMA_G, SIGMA_D = "sentinel/sigma_g", "sentinel/sigma_d"
DIVERSITY = "sentinel/diversity"
D_MARGIN, D_GAP = "sentinel/d_margin", "sentinel/d_gap"
SCORE = "score"

Rule = Callable[[History, Look, Sentinel], str | None]
"""(the history before the look, the look, the settings) → what is wrong with it, or None."""


def observe(
    history: History, step: int, values: Mapping[str, float], settings: Sentinel
) -> tuple[History, list[Symptom]]:
    """The history after a look at a later step, and what it now says. Pure.

    Values that aren't finite are left out; a look that has one is not healthy.
    """
    finite = Look(step=step, values={name: value for name, value in values.items() if math.isfinite(value)})
    found = dict(_suspicions(history, finite, settings))
    streaks = {name: history.streaks.get(name, 0) + 1 for name in found} if history.seen >= WINDOW else {}
    if SCORE in history.streaks:
        streaks[SCORE] = history.streaks[SCORE]
    after = history.replace(
        looks=(*history.looks, finite)[-(WINDOW + 1) :],
        seen=history.seen + 1,
        streaks=streaks,
        told=tuple(name for name in history.told if name in streaks),
        healthy=history.healthy if found or streaks or len(finite.values) < len(values) else step,
    )
    return after, [
        Symptom(name, message) for name, message in found.items() if streaks.get(name, 0) >= settings.patience
    ]


def score(
    history: History, step: int, metric: str, value: float, *, higher: bool, settings: Sentinel
) -> tuple[History, list[Symptom]]:
    """The history after an evaluation, and what the trend of the scores says. Pure; an evaluation counts once.

    metric: name of the score. higher: whether higher is better. Scores that aren't finite or above 0 have no ratio and
    say nothing.
    """
    if step <= history.scored or not math.isfinite(value) or value <= 0.0:
        return history, []
    best = value if history.best is None else (max if higher else min)(history.best, value)
    worse = best / value if higher else value / best
    bad = settings.score_factor is not None and worse > settings.score_factor
    streaks = {name: count for name, count in history.streaks.items() if name != SCORE}
    if bad:
        streaks[SCORE] = history.streaks.get(SCORE, 0) + 1
    told = tuple(name for name in history.told if name in streaks)
    after = history.replace(scored=step, best=best, streaks=streaks, told=told)
    if not bad or streaks[SCORE] < settings.patience:
        return after, []
    message = (
        f"{metric} is {value:.4g}, {worse:.1f} times worse than its best ({best:.4g}), and has been so for "
        f"{streaks[SCORE]} evaluations; lower the learning rates, or end the training earlier"
    )
    return after, [Symptom(SCORE, message)]


def _suspicions(history: History, look: Look, settings: Sentinel) -> Iterator[tuple[str, str]]:
    for name, rule in RULES.items():
        if message := rule(history, look, settings):
            yield name, message


def _sigma(name: str, player: str) -> Rule:
    def rule(history: History, look: Look, settings: Sentinel) -> str | None:
        # The start is left out: weights grow from a tiny initialisation by large factors, and should.
        if history.seen < 2 * WINDOW or settings.sigma_growth is None:
            return None
        before, now = history.looks[-WINDOW].values.get(name), look.values.get(name)
        if before is None or now is None or before <= 0.0 or now <= settings.sigma_growth * before:
            return None
        return (
            f"the greatest singular value of {player}'s first layer rose from {before:.4g} at step "
            f"{history.looks[-WINDOW].step} to {now:.4g} at step {look.step}; lower optimizers.{player}.lr, or raise D's "
            "regularisation (objective.penalties)"
        )

    return rule


def _diversity(history: History, look: Look, settings: Sentinel) -> str | None:
    value = look.values.get(DIVERSITY)
    if settings.least_diversity is None or value is None or value >= settings.least_diversity:
        return None
    return (
        f"G's samples at step {look.step} lie {value:.3g} times as far apart as real images: G has collapsed to one "
        "picture; lower the learning rates, or make D weaker (objective.d_steps, optimizers.D.lr)"
    )


def _margin(history: History, look: Look, settings: Sentinel) -> str | None:
    value = look.values.get(D_MARGIN)
    if settings.d_margin is None or value is None or value <= settings.d_margin:
        return None
    return (
        f"D is saturated: at step {look.step} its median logits of real and generated images are beyond ±{value:.3g}, so G "
        "learns little from it; lower optimizers.D.lr or objective.d_steps, or regularise D (objective.penalties)"
    )


def _gap(history: History, look: Look, settings: Sentinel) -> str | None:
    value = look.values.get(D_GAP)
    if settings.d_gap is None or value is None or value <= settings.d_gap:
        return None
    return (
        f"D knows its training images by heart: at step {look.step} it prefers them to held-out ones in "
        f"{(1 + value) / 2:.0%} of all pairs; use more data or data.mirror, a smaller D, or end the training earlier"
    )


RULES: Mapping[str, Rule] = {
    "sigma-g": _sigma(SIGMA_G, "G"),
    "sigma-d": _sigma(SIGMA_D, "D"),
    "diversity": _diversity,
    "d-saturation": _margin,
    "d-gap": _gap,
}
"""Every rule over looks by its name."""
