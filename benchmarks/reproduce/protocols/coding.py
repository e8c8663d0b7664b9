"""What InfoGAN's codes found: code ↔ digit error, and the bound L_I (Chen et al. 2016).

Shape legend: N images, C channels, H height, W width, K values of the first categorical code, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from benchmarks.reproduce.protocols.classes import percent
from benchmarks.reproduce.protocols.features import BATCH, with_statistics_of
from trainer.evaluate.codes import categorical_bound, code_error, matching
from trainer.families.arch import Code

LAST = 10
"""Progress reports at the end of the training over which L_I is averaged."""


class Posterior(nn.Module):
    """Q behind D's body: images_NCHW → logits_NK of a categorical code."""

    def __init__(self, d: nn.Module, q: nn.Module, columns: slice) -> None:
        super().__init__()
        self.d, self.q, self.columns = d, q, columns

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits: Tensor = self.q(self.d(x_NCHW, features=True)[1])[:, self.columns]
        return logits


def code_matching(target: float | None) -> Callable[[Case], Iterator[Figure]]:
    """Each value of c1 is matched to a digit on the training images; the error is that on the test images.

    Q reads real images, which it never trained on: D's batch norm is re-estimated over the real training images.
    """

    def measure(case: Case) -> Iterator[Figure]:
        code = categorical(case)
        images, labels = case.inputs("train")
        test, truth = case.inputs("test")
        net = with_statistics_of(_posterior(case, code), images)
        match = matching(_logits(net, images).argmax(axis=1), labels, code.size, int(labels.max()) + 1)
        found = code_error(_logits(net, test).argmax(axis=1), truth, match)
        name = f"test error of {code.name} as digit, matched on training images"
        yield percent(name, found, paper="5 %", target=target, lower=True)

    return measure


def information(case: Case) -> Iterator[Figure]:
    """L_I of the categorical codes during training (the job's own metric), and of the published generator's images."""
    curve = case.trained.metric("Q/information")
    if curve:
        last = np.array([value for _, value in curve[-LAST:]])
        yield Figure("L_I at the end of the training", float(last.mean()), paper="2.30 = H(c)", unit="nats")
        yield Figure(
            "images until L_I was at 90 % of its end", float(_reached(curve, 0.9 * float(last.mean()))), unit="images"
        )
    code = categorical(case)
    asked = np.arange(case.scale.agreement, dtype=np.int64) % code.size
    z = case.trained.generator.latents(len(asked), seed=2, codes={code.name: asked})
    images = case.trained.inputs(case.trained.generator.decode(z))
    logits = _logits(with_statistics_of(_posterior(case, code), images), images).astype(np.float64)
    name = f"L_I of {code.name} over {len(asked):,} published samples"
    yield Figure(name, categorical_bound(logits, asked), paper=f"{log(code.size):.2f} = H(c)", unit="nats")


def categorical(case: Case) -> Code:
    """The first categorical code. Raises ValueError for a latent without."""
    for code in case.trained.spec.arch.latent.codes:
        if code.kind == "categorical":
            return code
    raise ValueError(
        "arch.latent.categorical is empty: there is no categorical code to measure; measure a job that has one"
    )


def _reached(curve: list[tuple[int, float]], level: float) -> int:
    return next(images for images, value in curve if value >= level or images == curve[-1][0])


def _posterior(case: Case, code: Code) -> Posterior:
    nets, first = case.trained.nets.nets, case.trained.spec.arch.latent.codes[0].column
    return Posterior(nets["D"], nets["Q"], slice(code.column - first, code.column - first + code.size))


@torch.no_grad()
def _logits(net: nn.Module, images_NCHW: Tensor) -> NDArray[np.float32]:
    parts = [net(chunk) for chunk in torch.split(images_NCHW, BATCH)]
    return cast("NDArray[np.float32]", torch.cat(parts).numpy())
