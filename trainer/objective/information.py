"""The variational lower bound of the mutual information of codes and images (Chen et al. 2016, section 5).

Q(c | x) approximates the posterior of the codes. Its output has the columns that the codes have in z: logits of each
categorical code, the mean of each continuous one, whose standard deviation is fixed.

Shape legend: B batch, W columns of all codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from trainer.families.arch import Code


@dataclass(frozen=True)
class Information:
    """Means over the batch in nats, scalars, each None where there is no code of its kind.

    categorical: L_I = Σ H(c) + E log Q(c | x) (Eq. 5): at most Σ log K, 0 for a Q that knows nothing.
    continuous: Σ E log Q(c | x). The constant Σ H(c) is left out: with a fixed deviation it would make no zero of it.
    """

    categorical: Tensor | None
    continuous: Tensor | None

    def weighted(self, categorical: float, continuous: float) -> Tensor:
        """What is maximised: the parts that exist, each times its weight."""
        pairs = ((categorical, self.categorical), (continuous, self.continuous))
        return torch.stack([weight * part for weight, part in pairs if part is not None]).sum()

    def metrics(self) -> dict[str, Tensor]:
        """Detached, by the names that are logged."""
        parts = {"Q/information": self.categorical, "Q/continuous_log_likelihood": self.continuous}
        return {name: part.detach() for name, part in parts.items() if part is not None}


def information(codes: Sequence[Code], drawn_BW: Tensor, posterior_BW: Tensor, sigma: float) -> Information:
    """L_I of `codes`, drawn_BW being their columns of z and posterior_BW Q's output for the images made of them.

    sigma: standard deviation of Q of each continuous code, above 0.
    """
    first = codes[0].column
    found: dict[str, list[Tensor]] = {"categorical": [], "continuous": []}
    for code in codes:
        columns = slice(code.column - first, code.column - first + code.size)
        drawn, posterior = drawn_BW[:, columns], posterior_BW[:, columns]
        if code.kind == "categorical":
            log_q = (drawn * log_softmax(posterior, dim=1)).sum(dim=1)
            found["categorical"].append(log(code.size) + log_q.mean())
        else:
            deviations = (drawn - posterior) / sigma
            found["continuous"].append(-0.5 * deviations.square().mean() - log(sigma) - 0.5 * log(2.0 * pi))
    totals = {kind: torch.stack(parts).sum() if parts else None for kind, parts in found.items()}
    return Information(totals["categorical"], totals["continuous"])
