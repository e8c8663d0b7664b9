"""The checks of a spec that concern several sections. Each names a field and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

from trainer.families.table import families_with
from trainer.spec.errors import FieldError, short
from trainer.spec.sampling import wrong_weights
from trainer.spec.sections import LossName, MicroBatch, Objective
from trainer.strict import MAX_INTEGER

if TYPE_CHECKING:
    from trainer.spec.job import JobSpec


def problems(spec: JobSpec) -> Iterator[FieldError]:
    """Every impossible combination in the spec."""
    yield from _integers(spec.model_dump(mode="json"))
    yield from _players(spec)
    yield from _labels(spec)
    yield from _kind_of_family(spec)
    yield from _batch(spec)
    yield from _workers(spec)
    yield from _penalties(spec)
    yield from _sampling(spec)
    yield from _builtin_data(spec)
    if spec.limits.no_better_after is not None and not (spec.evaluation.every_steps and spec.evaluation.metrics):
        message = "is never asked: the job is not scored before its end"
        fix = "set evaluation.every_steps and evaluation.metrics, or leave it out"
        yield _wrong("limits.no_better_after", spec.limits.no_better_after, message, fix)
    if spec.evaluation.truncations and spec.arch.latent.distribution != "normal":
        given = list(spec.evaluation.truncations)
        message = "means nothing to a uniform prior"
        yield _wrong("evaluation.truncations", given, message, "leave it out, or use arch.latent.distribution=normal")
    if spec.publish and spec.publish.metric not in spec.evaluation.metrics:
        yield _wrong("publish.metric", spec.publish.metric, "is not evaluated", "add it to evaluation.metrics")


def _integers(value: object, path: str = "") -> Iterator[FieldError]:
    """Numbers that no database holds, of fields that set no bound of their own."""
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        yield _wrong(path, f"{value:.3e}", "does not fit 64 bits", "use a smaller number")
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _integers(item, f"{path}.{name}" if path else str(name))


def _players(spec: JobSpec) -> Iterator[FieldError]:
    players = spec.arch.players
    for name in players:
        if name not in spec.optimizers:
            fix = f"family {spec.arch.family} trains {', '.join(players)}"
            yield _wrong(f"optimizers.{name}", None, "is missing", fix)
    for name in spec.optimizers:
        if name not in players:
            message = f"is no player of family {spec.arch.family}"
            yield _wrong(f"optimizers.{name}", name, message, f"players: {', '.join(players)}")


def _labels(spec: JobSpec) -> Iterator[FieldError]:
    arch = spec.arch
    if arch.label_use == "required" and not arch.classes:
        message = f"is too few: family {arch.family} is conditioned on labels"
        yield _wrong("arch.classes", 0, message, "set it to the number of classes that the data has")
    if arch.label_use == "none" and arch.classes:
        message = f"can't be used: family {arch.family} knows no labels"
        fix = f"use 0, or a family that can be conditioned on labels: {_able('labels')}"
        yield _wrong("arch.classes", arch.classes, message, fix)


def _kind_of_family(spec: JobSpec) -> Iterator[FieldError]:
    """What only some families can: a D to have objectives for, an encoder."""
    arch = spec.arch
    if not arch.adversarial:
        default = Objective()
        for name, value in spec.objective:
            if value != getattr(default, name):
                message = f"means nothing to family {arch.family}, which has no discriminator"
                given = spec.objective.model_dump(mode="json")[name]
                yield _wrong(
                    f"objective.{name}", given, message, f"leave it out, or use {short(getattr(default, name))}"
                )
    if arch.own_loss != (spec.objective.loss == "own"):
        has = "has losses of its own" if arch.own_loss else "has no loss of its own"
        fix = (
            "use own"
            if arch.own_loss
            else f"use one of {', '.join(name for name in get_args(LossName) if name != 'own')}"
        )
        yield _wrong("objective.loss", spec.objective.loss, f"can't be used: family {arch.family} {has}", fix)
    if arch.own_loss and spec.objective.penalties:
        message = f"mean nothing to family {arch.family}, whose losses are its own"
        yield _wrong("objective.penalties", [each.kind for each in spec.objective.penalties], message, "leave them out")
    if arch.encoder:
        return
    message = f"needs an encoder, and family {arch.family} has none"
    fix = f"leave it out, or use a family that has one: {_able('encoder')}"
    if spec.publish and spec.publish.encoder:
        yield _wrong("publish.encoder", True, message, fix)
    if "reconstruction" in spec.evaluation.metrics:
        yield _wrong("evaluation.metrics", "reconstruction", message, fix)


def _able(what: Literal["labels", "encoder"]) -> str:
    """Families that can be conditioned on labels, or that have an encoder."""
    return ", ".join(families_with(what)) or "there is none"


def _batch(spec: JobSpec) -> Iterator[FieldError]:
    batch, lanes = spec.train.batch, spec.data.lanes
    if batch % lanes:
        message = f"is not divisible by data.lanes ({lanes})"
        yield _wrong("train.batch", batch, message, f"use a multiple of {lanes}, or lower data.lanes")
        return
    for path, micro in _micro_batches(spec).items():
        for workers in spec.world_sizes():
            share = batch // workers
            if micro and share % micro:
                message = f"does not divide the share of one of {workers} worker(s) ({share})"
                yield _wrong(path, micro, message, "use a divisor of it")
                break
    if isinstance(spec.train.micro_batch, MicroBatch) and spec.train.micro_batch.D and "D" not in spec.arch.players:
        message = f"means nothing to family {spec.arch.family}, which has no discriminator"
        yield _wrong("train.micro_batch.D", spec.train.micro_batch.D, message, "leave it out")


def _micro_batches(spec: JobSpec) -> dict[str, int | None]:
    """Path → micro-batch."""
    given = spec.train.micro_batch
    if isinstance(given, MicroBatch):
        return {"train.micro_batch.G": given.G, "train.micro_batch.D": given.D}
    return {"train.micro_batch": given}


def _workers(spec: JobSpec) -> Iterator[FieldError]:
    lanes, workers, smallest = spec.data.lanes, spec.resources.workers, spec.resources.min_workers
    fix = "use a divisor of it, or change data.lanes"
    if lanes % workers:
        yield _wrong("resources.workers", workers, f"does not divide data.lanes ({lanes})", fix)
    if smallest and smallest > workers:
        message = f"is more than resources.workers ({workers})"
        yield _wrong("resources.min_workers", smallest, message, "lower it")
    elif smallest and lanes % smallest:
        yield _wrong("resources.min_workers", smallest, f"does not divide data.lanes ({lanes})", fix)


def _penalties(spec: JobSpec) -> Iterator[FieldError]:
    kinds = [penalty.kind for penalty in spec.objective.penalties]
    for index, kind in enumerate(kinds):
        path = f"objective.penalties.{index}"
        if kind in kinds[:index]:
            yield _wrong(path, kind, "is there twice", "keep one and set its weight")
        if kind == "clip" and "gradient-penalty" in kinds:
            yield _wrong(path, kind, "and gradient-penalty bound D's slope in two ways", "keep one of them")
        if kind in ("gradient-penalty", "r1", "r2") and spec.arch.d_batch_statistics:
            message = "needs D's gradient at single images, which batch norm mixes"
            other = (
                "arch.d_norm=layer" if "d_norm" in type(spec.arch).model_fields else "family dcgan, arch.d_norm=layer"
            )
            yield _wrong(path, kind, message, f"leave it out, or use a D without batch norm, e.g. {other}")


def _sampling(spec: JobSpec) -> Iterator[FieldError]:
    """That weights are given where they are used, and only there; which classes there are, the data say."""
    data, weights = spec.data, spec.data.weights
    if (data.sampling == "weights") != (weights is not None):
        message = "are missing" if weights is None else f"mean nothing to data.sampling {data.sampling}"
        fix = "give e.g. {cat: 2, dog: 1}" if weights is None else "leave them out, or use data.sampling=weights"
        yield _wrong("data.weights", weights, message, fix)
    if isinstance(weights, tuple) and not any(weights):
        yield _wrong("data.weights", list(weights), "leave no class to draw", "give one of them a weight above 0")


def _builtin_data(spec: JobSpec) -> Iterator[FieldError]:
    if spec.data.url != "builtin:digits":
        return
    yield from wrong_weights(spec.data, [str(digit) for digit in range(10)])
    if spec.arch.channels != 1:
        yield _wrong("arch.channels", spec.arch.channels, "does not fit builtin:digits, which is grey", "use 1")
    if spec.arch.classes not in (0, 10) and spec.arch.label_use != "none":
        message = "does not fit builtin:digits, which has 10 classes"
        fix = "use 10" if spec.arch.label_use == "required" else "use 10, or 0 for no labels"
        yield _wrong("arch.classes", spec.arch.classes, message, fix)


def _wrong(path: str, value: object, message: str, fix: str) -> FieldError:
    return FieldError(path=path, message=message, value=short(value), fix=fix)
