"""A search file to begin with."""

from __future__ import annotations

from trainer.spec import JobSpec

TEMPLATE = """\
# A search over recipe {recipe}. `agon search FILE --watch` starts it; docs/searches.md is the guide.
name: {name}

# The job that is varied: a recipe with changes, or a whole spec. train.images is the length of a full trial, resources is what
# one trial takes. With publish.model the best trial's generator goes to the registry.
base:
  recipe: {recipe}
  set:
    train.images: {images}
{metrics}    # resources.workers: 1
    # publish.model: {name}

# What is drawn, by path of the spec. loguniform, uniform, quniform, randint; or a list: one of these.
#   also: other fields that get the same value.   when: only where other fields have this value.
space:
{space}
# The score that decides, and whether low (min) or high (max) is good; null: as the metric is known.
metric: {metric}
mode: null

# random, grid, optuna (TPE), asha (bad trials end early), asha+optuna, pbt (bad trials take over good ones' state).
algorithm: asha+optuna
# Trials in all, and how many train at once at most; fewer if the cluster holds fewer.
trials: 16
max_concurrent: 4
# Evaluations of a full trial, and over how many of the last ones its score is the mean.
evaluations: 8
smooth: 2
# The search ends when it has shown so many images or taken so many seconds; what runs then keeps its score.
budget:
  images: null
  seconds: null
# Of the draws: the same seed draws the same specs.
seed: 0
"""


def template(recipe: str, spec: JobSpec) -> str:
    """Learning rates a factor of ten around the recipe's, for each of its players."""
    lines = []
    for player, optimizer in spec.optimizers.items():
        low, high = optimizer.lr / 10, optimizer.lr * 10
        lines.append(f"  optimizers.{player}.lr: {{loguniform: [{low:.3g}, {high:.3g}]}}\n")
    scored = spec.evaluation.metrics
    return TEMPLATE.format(
        recipe=recipe,
        name=f"{recipe[:45]}-lr",
        images=spec.train.images,
        metrics="" if scored else "    evaluation.metrics: [fid]\n",
        space="".join(lines),
        metric="fid" if "fid" in scored or not scored else scored[0],
    )
