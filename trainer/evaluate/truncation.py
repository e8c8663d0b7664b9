"""The truncation trade-off of a generator, and whether it is amenable to truncation (Brock et al. 2018, section 3.1).

Shape legend: n images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.engine.distributed import Distributed
from trainer.evaluate.accumulate import Features, gather_features
from trainer.evaluate.scores import score

METRICS = ("fid", "precision", "recall")
SATURATED = "saturated"
"""Share of pixel values that are at most 1 or at least 254."""
LARGEST = 1.0
"""Thresholds up to this one are judged; above it hardly anything is truncated."""
LOST_PRECISION, ADDED_SATURATION = 0.05, 0.10
"""How much precision may fall, and the share of saturated pixels rise, against no truncation: beyond the noise of a few
thousand images, and far less than where samples break down."""

Images = NDArray[np.uint8]
Point = Mapping[str, float | None]
"""`truncation` (None: none), the METRICS, and SATURATED."""


def saturation(images_nHWC: Images) -> float:
    """Share of values at most 1 or at least 254."""
    return float(((images_nHWC <= 1) | (images_nHWC >= 254)).mean())


def truncation_curve(
    thresholds: Sequence[float],
    count: int,
    images: Callable[[float | None, int, int], Images],
    features: Callable[[Tensor], Tensor],
    real: Features,
    distributed: Distributed,
) -> list[Point]:
    """A point for each threshold, ascending, and one without truncation at the end. All ranks must call it.

    images: (truncation, start, n) → that many images. features: uint8 [n, C, H, W] → [n, F]. real: of the training
    images. Scores are rank 0's; on other ranks they are computed as well, from the same features.
    """
    points: list[Point] = []
    for limit in (*sorted(thresholds), None):
        extreme = torch.zeros(2, dtype=torch.float64)

        def chunk(start: int, n: int, limit: float | None = limit, extreme: Tensor = extreme) -> Tensor:
            drawn = images(limit, start, n)
            extreme.add_(torch.tensor([saturation(drawn) * len(drawn), len(drawn)], dtype=torch.float64))
            return features(torch.from_numpy(drawn).permute(0, 3, 1, 2))

        fake = gather_features(count, chunk, distributed, keep=True)
        share, total = distributed.sum(extreme.to(distributed.device)).tolist()
        points.append({"truncation": limit, **score(real, fake, METRICS), SATURATED: share / total})
    return points


def verdict(points: Sequence[Point]) -> str:
    """Whether the model is amenable to truncation, in a sentence that begins with the answer.

    It is, if at every threshold up to 1 precision is at most 0.05 below that without truncation and the share of
    saturated pixels at most 0.10 above: truncated samples look no worse, and have none of the saturation artefacts by
    which the paper tells models that are not amenable. That they are fewer kinds (recall) is what truncation is for.
    """
    whole = next((point for point in points if point["truncation"] is None), None)
    judged = [point for point in points if point["truncation"] is not None and point["truncation"] <= LARGEST]
    if whole is None or not judged:
        return f"Not judged: that takes a point without truncation and one at τ ≤ {LARGEST:g}."
    for point in sorted(judged, key=lambda point: -_number(point, "truncation")):
        lost = _number(whole, "precision") - _number(point, "precision")
        added = _number(point, SATURATED) - _number(whole, SATURATED)
        if lost > LOST_PRECISION or added > ADDED_SATURATION:
            what, name = (
                ("precision falls", "precision") if lost > LOST_PRECISION else ("saturated pixels rise", SATURATED)
            )
            change = f"from {_number(whole, name):.2f} to {_number(point, name):.2f}"
            return f"Not amenable to truncation: at τ = {point['truncation']:g} {what} {change}."
    least = min(_number(point, "truncation") for point in judged)
    return (
        f"Amenable to truncation: down to τ = {least:g} precision falls by at most {LOST_PRECISION:g} and saturated pixels "
        f"rise by at most {ADDED_SATURATION:g}."
    )


def _number(point: Point, name: str) -> float:
    value = point[name]
    assert value is not None  # noqa: S101 — for the type checker
    return value
