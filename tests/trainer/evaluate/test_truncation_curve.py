"""The truncation curve and its verdict."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm

from trainer.evaluate.accumulate import Features
from trainer.evaluate.moments import Moments
from trainer.evaluate.truncation import Point, saturation, truncation_curve, verdict

ALONE: Any = SimpleNamespace(
    rank=0, world=1, device=torch.device("cpu"), sum=lambda tensor: tensor, gather=lambda tensor: tensor
)


def point(truncation: float | None, precision: float, saturated: float) -> Point:
    return {"truncation": truncation, "fid": 1.0, "precision": precision, "recall": 0.5, "saturated": saturated}


def test_saturation_is_the_share_of_extreme_values() -> None:
    assert saturation(np.array([[0, 1, 2, 253, 254, 255, 100, 128]], np.uint8)) == 0.5


def test_points_of_a_pixelwise_generator_are_those_of_its_distribution() -> None:
    """Images are noise around grey: truncation narrows it, so the distance to untruncated ones grows and recall falls."""

    def images(limit: float | None, start: int, n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        source = np.random.default_rng([start, 7])
        z = (
            source.standard_normal((n, 2, 1, 1))
            if limit is None
            else truncnorm(-limit, limit).rvs((n, 2, 1, 1), source)
        )
        return np.clip(128 + 60 * z, 0, 255).astype(np.uint8)

    def features(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).float()

    rows = features(torch.from_numpy(images(None, 10_000, 600)).permute(0, 3, 1, 2)).numpy()
    points = truncation_curve([1.0, 0.5], 600, images, features, Features(Moments.of(rows), rows), ALONE)
    assert [found["truncation"] for found in points] == [0.5, 1.0, None]
    narrow, middle, whole = points
    assert narrow["fid"] > middle["fid"] > 10 * whole["fid"]
    assert narrow["recall"] < middle["recall"] < whole["recall"]
    assert whole["saturated"] == pytest.approx(0.035, abs=0.02)
    assert narrow["saturated"] == middle["saturated"] == 0.0
    assert verdict(points).startswith("Amenable to truncation: down to τ = 0.5 ")


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([point(0.5, 0.66, 0.29)], "Amenable to truncation: down to τ = 0.5 "),
        ([point(0.5, 0.9, 0.31)], "Not amenable to truncation: at τ = 0.5 saturated pixels rise from 0.20 to 0.31."),
        ([point(0.5, 0.64, 0.2)], "Not amenable to truncation: at τ = 0.5 precision falls from 0.70 to 0.64."),
        ([point(0.25, 0.1, 0.2), point(0.75, 0.2, 0.2)], "Not amenable to truncation: at τ = 0.75 precision"),
        ([point(2.0, 0.1, 0.9), point(1.0, 0.7, 0.2)], "Amenable to truncation: down to τ = 1 "),
        ([point(1.5, 0.1, 0.9)], "Not judged"),
    ],
)
def test_a_model_is_amenable_if_truncated_samples_look_no_worse(points: list[Point], says: str) -> None:
    assert verdict([*points, point(None, 0.7, 0.2)]).startswith(says)
    assert verdict(points).startswith("Not judged")
