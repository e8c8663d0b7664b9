"""Parzen-window log-likelihood with its two baselines (Goodfellow et al. 2014; Theis et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from trainer.evaluate.moments import Float64
from trainer.evaluate.parzen import VALIDATION, Parzen, centroids, flat_pixels, parzen

TRUE, KMEANS = "Parzen log-likelihood of true training images", "of k-means centroids"


def parzen_likelihood(paper: str, target: float) -> Callable[[Case], Iterator[Figure]]:
    """10,000 samples (a conditional generator: as many of each class), σ by 1000 validation images, all test images."""

    def measure(case: Case) -> Iterator[Figure]:
        count = case.scale.samples
        conditional = case.trained.spec.arch.conditional
        samples = case.balanced(count)[0] if conditional else case.trained.sample(count)
        found = _estimate(case, flat_pixels(samples))
        yield Figure("Parzen log-likelihood", found.mean, found.standard_error, paper=paper, target=target, unit="nats")
        yield Figure("σ that validation chose", found.sigma)
        true = case.mnist.remembered(f"parzen-true-{count}", case.trained.spec.arch, lambda: _true(case, count))
        yield Figure(TRUE, true["mean"], true["standard_error"], paper="243", unit="nats")
        means = case.mnist.remembered(
            f"parzen-kmeans-{case.scale.centroids}", case.trained.spec.arch, lambda: _kmeans(case)
        )
        yield Figure(KMEANS, means["mean"], means["standard_error"], paper="313", unit="nats")

    return measure


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
