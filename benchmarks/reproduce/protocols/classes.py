"""What labelled samples are worth: a classifier made of them, and a classifier's agreement with the asked labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from benchmarks.reproduce.images import Splits
from trainer.evaluate.agreement import agreement, fit
from trainer.evaluate.classifier import FeatureNet
from trainer.evaluate.nearest import Share, nearest_error
from trainer.families.arch import Arch


def percent(name: str, share: Share, *, paper: str = "", target: float | None = None, lower: bool = False) -> Figure:
    """A share as a figure in percent."""
    return Figure(
        name, 100 * share.value, 100 * share.standard_error, paper=paper, target=target,
        better="lower" if lower else "higher", unit="%",
    )  # fmt: skip


def generated_neighbours(paper: str, target: float) -> Callable[[Case], Iterator[Figure]]:
    """1-NN test error of a classifier whose 50,000 training images are generated (Radford et al. 2016, appendix)."""

    def measure(case: Case) -> Iterator[Figure]:
        test, truth = _rows(*case.split("test"))
        points, labels = _rows(*case.balanced(case.scale.labelled))
        found = nearest_error(test, truth, points, labels)
        name = f"1-NN test error from {len(points):,} generated samples"
        yield percent(name, found, paper=paper, target=target, lower=True)
        yield percent(
            f"1-NN test error from {len(case.split('train')[0]):,} real images", _real(case), paper="3.1 %", lower=True
        )

    return measure


def asked_labels(target: float | None) -> Callable[[Case], Iterator[Figure]]:
    """Share of samples in which a CNN trained on real images finds the class that was asked for."""

    def measure(case: Case) -> Iterator[Figure]:
        net = classifier(case)
        samples, asked = case.balanced(case.scale.agreement)
        yield percent(
            "classifier agrees with the asked label", agreement(net, channels_first(samples), asked), target=target
        )
        test, truth = case.split("test")
        yield percent("that classifier's own test accuracy", agreement(net, channels_first(test), truth))

    return measure


def classifier(case: Case) -> FeatureNet:
    """A CNN trained on the real training images, once for all measures of a process."""
    return _fitted(case.images, case.trained.spec.arch)


@cache
def _fitted(splits: Splits, arch: Arch) -> FeatureNet:
    images, labels = splits.images("train", arch)
    return fit(channels_first(images), torch.from_numpy(labels), arch.classes)


def _real(case: Case) -> Share:
    def make() -> dict[str, float]:
        test, truth = _rows(*case.split("test"))
        found = nearest_error(test, truth, *_rows(*case.split("train")))
        return {"value": found.value, "count": found.count}

    kept = case.images.remembered("nearest-pixels", case.trained.spec.arch, make)
    return Share(kept["value"], int(kept["count"]))


def _rows(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return images.reshape(len(images), -1), labels


def channels_first(images: NDArray[np.uint8]) -> torch.Tensor:
    """[n, H, W, C] → [n, C, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
