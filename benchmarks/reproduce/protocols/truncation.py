"""The truncation curve (Brock et al. 2019, section 3.1 and figure 2): what narrower latents do to fidelity, variety and pixels.

Shape legend: n images, C channels, H height, W width, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from benchmarks.reproduce.protocols.classes import channels_first, classifier
from benchmarks.reproduce.trained import Trained
from trainer.evaluate.agreement import agreement, size_of
from trainer.evaluate.classifier import FeatureNet, prepare
from trainer.evaluate.evaluator import CURVE, VERDICT
from trainer.evaluate.truncation import LARGEST, saturation

ENDS = (0.04, 2.0)
"""The narrowest and the widest threshold of the paper's figure."""
QUOTED = 0.5
"""Threshold of the figures that stand in a row of the table."""
Point = dict[str, float | None]


def truncation(case: Case) -> Iterator[Figure]:
    """A point for each threshold, and the figures that sum them up. Raises ValueError for a prior that is not normal.

    Fréchet distance, precision and recall are the platform's own, at the thresholds of the job's evaluation; agreement,
    diversity and saturation are measured on samples of the published package.
    """
    if case.trained.spec.arch.latent.distribution != "normal":
        raise ValueError(
            f"arch.latent.distribution is {case.trained.spec.arch.latent.distribution}: only a normal prior is truncated"
        )
    points = tuple(curve(case))
    whole = points[-1]
    quoted = next(point for point in points if point["truncation"] == QUOTED)
    judged = [point for point in points if point["truncation"] is not None and point["truncation"] <= LARGEST]
    added = max(_number(point, "saturated") - _number(whole, "saturated") for point in judged)
    yield Figure(
        f"saturated pixels that truncation at τ ≤ {LARGEST:g} adds", 100 * added, better="lower", unit="% of all",
        note=platforms(case.trained)[1], points=points,
    )  # fmt: skip
    yield Figure(
        f"classifier agrees with the asked label at τ = {QUOTED:g}", 100 * _number(quoted, "agreement"),
        100 * _number(quoted, "agreement_error"), unit="%",
    )  # fmt: skip
    yield Figure("variety within a class, real images' = 1", _number(whole, "diversity"))
    yield Figure(f"the same at τ = {QUOTED:g}", _number(quoted, "diversity"))


def curve(case: Case) -> Iterator[Point]:
    """`truncation` (None: none, the last point), `agreement` and its error, `diversity`, `saturated`, and what the platform
    measured at that threshold (`fid`, `precision`, `recall`; None where it did not)."""
    known, _ = platforms(case.trained)
    net = classifier(case)
    real = within_classes(features(net, case.split("test")[0]), case.split("test")[1])
    asked = np.arange(case.scale.truncated, dtype=np.int64) % case.trained.spec.arch.classes
    for limit in (*thresholds(known), None):
        images = case.trained.sample(len(asked), labels=asked.tolist(), truncation=limit)
        share = agreement(net, channels_first(images), asked)
        yield {
            "truncation": limit,
            **{name: known.get(limit, {}).get(name) for name in ("fid", "precision", "recall")},
            "agreement": share.value,
            "agreement_error": share.standard_error,
            "diversity": within_classes(features(net, images), asked) / real,
            "saturated": saturation(images),
        }


def thresholds(known: Mapping[float | None, Any]) -> list[float]:
    """Ascending: the platform's, those at the ends of the paper's figure, and the one that is quoted."""
    return sorted({*ENDS, QUOTED, *(limit for limit in known if limit is not None)})


def platforms(trained: Trained) -> tuple[dict[float | None, Mapping[str, float]], str]:
    """The newest curve of the job's own evaluations by threshold, and its verdict; empty for a job without one."""
    for event in reversed(trained.scores):
        provenance = event["data"].get("provenance", {})
        if CURVE in provenance:
            return {point["truncation"]: point for point in provenance[CURVE]}, str(provenance.get(VERDICT, ""))
    return {}, ""


@torch.inference_mode()
def features(net: FeatureNet, images_nHWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The classifier's hidden layer of each image, [n, F]."""
    images = channels_first(images_nHWC)
    parts = [net.features(prepare(chunk, size_of(images))) for chunk in torch.split(images, 1000)]
    found: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return found


def within_classes(features_nF: NDArray[np.float64], labels_n: NDArray[np.int64]) -> float:
    """Mean squared distance of two different images of one class, averaged over the classes: twice the trace of each
    class's covariance. Raises ValueError for a class with fewer than two images."""
    found = []
    for label in np.unique(labels_n):
        rows = features_nF[labels_n == label]
        if len(rows) < 2:
            raise ValueError(f"class {label} has {len(rows)} image; variety within a class takes two")
        found.append(2.0 * float(rows.var(axis=0, ddof=1).sum()))
    return float(np.mean(found))


def _number(point: Mapping[str, float | None], name: str) -> float:
    value = point[name]
    if value is None:
        raise ValueError(f"{name} was not measured at τ = {point['truncation']}")
    return value


def points_of(result: Mapping[str, Any]) -> Sequence[Mapping[str, float | None]]:
    """The curve of a result's first training; empty without one."""
    return next((figure["points"] for figure in result["runs"][0]["figures"] if figure.get("points")), ())
