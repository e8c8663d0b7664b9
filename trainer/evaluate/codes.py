"""What InfoGAN's codes mean, and how much Q recovers of them (Chen et al. 2016).

Shape legend: N images, K values of a categorical code, C classes.
"""

from __future__ import annotations

from math import log, pi

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax

from trainer.evaluate.moments import Float64
from trainer.evaluate.nearest import Share

UNIFORM_ENTROPY = log(2.0)
"""Differential entropy of U(−1, 1) in nats: the prior of a continuous code."""


def matching(codes: NDArray[np.int64], labels: NDArray[np.int64], values: int, classes: int) -> NDArray[np.int64]:
    """The class of each value of a code: [values], −1 for a value that stays without.

    One-to-one, by the assignment that most of the N images agree with (Hungarian algorithm), as the paper matches each
    value to a digit. Find it on training images and report `code_error` on others: matched on the images that it is
    reported on, the error is too small.
    """
    counts = np.zeros((values, classes), np.int64)
    np.add.at(counts, (codes, labels), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    found = np.full(values, -1, np.int64)
    found[rows] = columns
    return found


def code_error(codes: NDArray[np.int64], labels: NDArray[np.int64], match: NDArray[np.int64]) -> Share:
    """Share of images whose code is not matched to their class."""
    return Share.of(match[codes] != labels)


def categorical_bound(logits: Float64, codes: NDArray[np.int64]) -> float:
    """L_I = H(c) + E log Q(c | x) in nats (Chen et al. 2016, Eq. 5) for a uniform categorical code.

    logits: [N, K] of Q for generated images, codes: [N] that they were generated from. At most H(c) = log K; 0 for a Q
    that knows nothing; below 0 for one that is confidently wrong.
    """
    log_q = log_softmax(np.asarray(logits, np.float64), axis=1)
    return float(log(logits.shape[1]) + log_q[np.arange(len(codes)), codes].mean())


def gaussian_bound(means: Float64, sigma: float | Float64, codes: Float64) -> float:
    """The same for a code c ~ U(−1, 1) and Q(c | x) = N(mean, σ²), in nats. Differential: it has no upper bound log K.

    means, codes: [N]; sigma: above 0, one for all or [N].
    """
    log_q = -0.5 * ((codes - means) / sigma) ** 2 - np.log(sigma) - 0.5 * log(2.0 * pi)
    return float(UNIFORM_ENTROPY + log_q.mean())
