"""The spec of a reproduction: the recipe, on these images, with what a long unattended training needs."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.reproduce.platform import ATTEMPTS
from benchmarks.reproduce.protocols.table import Protocol
from trainer.spec import JobSpec, Publish, with_overrides


def spec_of(
    name: str, protocol: Protocol, recipe: JobSpec, *, url: str, images: int | None, seed: int, changes: Sequence[str]
) -> JobSpec:
    """The job of one reproduction. Raises SpecError for changes that don't fit, ValueError for what can't be measured.

    It is retried after every restart of the machine, registers its model under the recipe's name, is scored on the way as
    often and keeps as many states as the protocol asks; `changes` come last.
    """
    base = recipe.replace(
        name=f"reproduce-{name}",
        publish=Publish(model=f"reproduce-{name}"),
        retry=recipe.retry.replace(attempts=ATTEMPTS),
    )
    assignments = [f"data.url={url}", f"train.seed={seed}", *protocol.overrides]
    if images is not None:
        assignments.append(f"train.images={images}")
    spec = with_overrides(base, [*assignments, *changes])
    if protocol.codes and not any(code.kind == "categorical" for code in spec.arch.latent.codes):
        raise ValueError(
            f"arch.latent.categorical is empty, and {name} is measured by what its first categorical code finds: give it a "
            "code, e.g. --set arch.latent.categorical=[10], or train without `reproduce`"
        )
    if protocol.evaluations > 1:
        every = max(1, steps(spec) // protocol.evaluations)
        spec = spec.replace(evaluation=spec.evaluation.replace(every_steps=every))
    if protocol.states > 1:
        every = -(-steps(spec) // protocol.states)
        spec = spec.replace(checkpoint=spec.checkpoint.replace(every_steps=every, keep_last=protocol.states))
    return with_overrides(spec, changes)


def steps(spec: JobSpec) -> int:
    """About how many steps the training takes: each shows D `d_steps` batches of real images."""
    return max(1, spec.train.images // (spec.train.batch * spec.objective.d_steps))
