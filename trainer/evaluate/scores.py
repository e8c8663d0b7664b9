"""From features to scores."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.evaluate.accumulate import Features
from trainer.evaluate.frechet import frechet_distance
from trainer.evaluate.kernel import kernel_distance
from trainer.evaluate.neighbours import precision_recall


def score(real: Features, fake: Features, metrics: Sequence[str]) -> dict[str, float]:
    """The asked metrics by name: `fid` and `kid` (lower is better), `precision` and `recall` (higher is better)."""
    scores: dict[str, float] = {}
    if "fid" in metrics:
        a, b = real.moments, fake.moments
        scores["fid"] = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    if "kid" in metrics:
        scores["kid"] = kernel_distance(real.kept, fake.kept)
    if {"precision", "recall"} & set(metrics):
        precision, recall = precision_recall(real.kept, fake.kept)
        both = {"precision": precision, "recall": recall}
        scores.update({name: value for name, value in both.items() if name in metrics})
    return scores
