"""Parzen-window log-likelihood with its two baselines (Goodfellow et al. 2014; Theis et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from benchmarks.reproduce.trained import AtCheckpoint, Unfinished
from trainer.evaluate.moments import Float64
from trainer.evaluate.parzen import SIGMAS, VALIDATION, Parzen, centroids, flat_pixels, log_likelihoods, parzen

TRUE, KMEANS = "Parzen log-likelihood of true training images", "of k-means centroids"


def parzen_likelihood(paper: str, target: float) -> Callable[[Case], Iterator[Figure]]:
    """10,000 samples (a conditional generator: as many of each class), σ by 1000 validation images, all test images."""

    def measure(case: Case) -> Iterator[Figure]:
        count = case.scale.samples
        found = _estimate(case, _samples(case))
        yield Figure("Parzen log-likelihood", found.mean, found.standard_error, paper=paper, target=target, unit="nats")
        yield Figure("σ that validation chose", found.sigma)
        true = case.images.remembered(f"parzen-true-{count}", case.trained.spec.arch, lambda: _true(case, count))
        yield Figure(TRUE, true["mean"], true["standard_error"], paper="243", unit="nats")
        means = case.images.remembered(
            f"parzen-kmeans-{case.scale.centroids}", case.trained.spec.arch, lambda: _kmeans(case)
        )
        yield Figure(KMEANS, means["mean"], means["standard_error"], paper="313", unit="nats")

    return measure


def best_by_validation(*measures: Callable[[Case], Iterator[Figure]]) -> Callable[[Case], Iterator[Figure]]:
    """The measures, of that kept checkpoint whose samples give the first 1000 *validation* images the highest likelihood.

    Mirza & Osindero 2014, section 4.1: training stops at the best Parzen estimate on the validation set. Test images
    take no part in the choice. The note of each measure's first figure says what there was to choose from.
    """

    def measure(case: Case) -> Iterator[Figure]:
        states = case.trained.kept()
        if not states:
            raise Unfinished(f"{case.trained.folder / 'checkpoints'} holds no checkpoint to choose from")
        chosen = states[int(np.argmax([_validation(replace(case, trained=state)) for state in states]))]
        note = _choice(chosen, states)
        for one in measures:
            for number, figure in enumerate(one(replace(case, trained=chosen))):
                yield replace(figure, note=note) if number == 0 else figure

    return measure


def _choice(chosen: AtCheckpoint, states: Sequence[AtCheckpoint]) -> str:
    """What the row says of the state that was measured."""
    at = f"after {_millions(chosen.images)} images"
    if len(states) == 1:
        return f"of the last state, {at}: the job kept no other to choose from"
    span = f"from {_millions(states[0].images)} to {_millions(states[-1].images)}"
    return f"of the state {at}, the best by validation of the {len(states)} that the job kept, {span}"


def _millions(images: int) -> str:
    return f"{images / 1e6:.3g} M"


def _validation(case: Case) -> float:
    """Mean log-likelihood in nats of the validation images under the best of the widths."""
    validation = flat_pixels(case.split("valid")[0][:VALIDATION])
    return float(log_likelihoods(validation, _samples(case), SIGMAS).mean(axis=1).max())


def _samples(case: Case) -> Float64:
    count = case.scale.samples
    return flat_pixels(case.balanced(count)[0] if case.trained.spec.arch.conditional else case.trained.sample(count))


def _estimate(case: Case, samples: Float64) -> Parzen:
    validation, test = flat_pixels(case.split("valid")[0][:VALIDATION]), flat_pixels(case.split("test")[0])
    return parzen(samples, validation, test)


def _true(case: Case, count: int) -> dict[str, float]:
    images = case.split("train")[0]
    chosen = np.random.default_rng(0).choice(len(images), min(count, len(images)), replace=False)
    return _plain(_estimate(case, flat_pixels(images[chosen])))


def _kmeans(case: Case) -> dict[str, float]:
    images = flat_pixels(case.split("train")[0])
    return _plain(_estimate(case, centroids(images, min(case.scale.centroids, len(images)), seed=0)))


def _plain(found: Parzen) -> dict[str, float]:
    return {name: value for name, value in asdict(found).items() if name != "validation"}
