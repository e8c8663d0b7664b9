"""The spec's section on what watches a training that nobody watches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.schema import MOST_STEPS, MOST_WEIGHT, Frozen


class Sentinel(Frozen):
    """Watches for a training that collapses (docs/sentinel.md). A healthy one is computed the same without it."""

    policy: Literal["warn", "stop", "rollback"] = "warn"
    """`warn` tells and goes on; `stop` saves and fails the job as `collapsed`; `rollback` goes on from the newest
    checkpoint that was healthy, with smaller learning rates and other data, and turns NaN into such a return as well."""
    every_steps: int = Field(default=100, ge=1, le=MOST_STEPS)
    """Steps between two looks."""
    patience: int = Field(default=3, ge=1, le=100)
    """Looks (for the score: evaluations) in a row that must show a symptom."""
    max_rollbacks: int = Field(default=3, ge=1, le=100)
    """Roll backs of a training, over all its restarts; the collapse after the last one ends it as `collapsed`."""
    lr_factor: float = Field(default=0.5, gt=0.0, lt=1.0)
    """On all learning rates, with each roll back."""
    sigma_growth: float | None = Field(default=4.0, gt=1.0, le=MOST_WEIGHT)
    """Symptom: the greatest singular value of G's or D's first layer is that many times what it was ten looks before;
    null: not judged."""
    least_diversity: float | None = Field(default=0.05, gt=0.0, lt=1.0)
    """Symptom: samples of fixed latents (of one class) lie closer together, in features, than this share of the distance
    that real images have; null: not judged."""
    d_margin: float | None = Field(default=8.0, gt=0.0, le=MOST_WEIGHT)
    """Symptom: the median logits of real and of generated images lie that far above and below 0 (8: D is sure to 0.9997);
    for the losses minimax, non-saturating and hinge. null: not judged."""
    d_gap: float | None = Field(default=0.9, gt=0.0, lt=1.0)
    """Symptom: D tells images that it trained on from held-out ones (`data.held_out`) this well: 0 not at all, 1 without
    an error; null: not judged."""
    score_factor: float | None = Field(default=3.0, gt=1.0, le=MOST_WEIGHT)
    """Symptom: the score is that many times worse than its best; null: not judged."""
