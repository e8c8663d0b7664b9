"""The truncation trade-off (Brock et al. 2018, section 3.1)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.evaluate.accumulate import Features
from trainer.evaluate.moments import Moments
from trainer.evaluate.references import real_indices
from trainer.evaluate.scores import score
from trainer.evaluate.truncation import METRICS, SATURATED, saturation, verdict
from trainer.report import charts
from trainer.report.charts import Series
from trainer.report.errors import LeftOut
from trainer.report.page import Block, Charts, Row, Sheet, Text
from trainer.report.pictures import strip
from trainer.report.subject import Subject

THRESHOLDS: tuple[float | None, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, None)
ORDER: tuple[float | None, ...] = (None, 1.0, 0.5, 2.0, 1.5, 0.75, 0.25)
"""In which they are measured."""
SEED = 0
CHUNK = 256
FARTHEST = 3.0
"""Where the untruncated prior is drawn on the axis: nearly all of it lies within."""


def truncation(subject: Subject) -> Sequence[Block]:
    """Scores and samples at several thresholds."""
    if subject.arch.latent.distribution != "normal":
        raise LeftOut("the prior is uniform, and truncation is defined for a normal one")
    data = subject.data
    count = min(subject.affordable(share=0.5, sets=len(THRESHOLDS)), data.manifest.samples)
    if count < 64:
        raise LeftOut(f"the dataset has only {data.manifest.samples} images; scores need more")
    measured = measure(subject, count)
    limits = [limit for limit in THRESHOLDS if limit in measured]
    return [*_curves(subject, count, limits, measured), _sheet(subject, limits)]


def measure(subject: Subject, count: int) -> dict[float | None, dict[str, float]]:
    """Scores by threshold. Those in the middle of the curve come first; when the time is up, the others are left out."""
    model, data, eye = subject.images_to_look_at, subject.data, subject.eye
    real = _features(eye(data.images(part)[0]) for part in _parts(real_indices(data.manifest.samples, count)))
    measured: dict[float | None, dict[str, float]] = {}
    begun = time.monotonic()
    for limit in ORDER:
        if len(measured) >= 3 and time.monotonic() - begun > subject.effort.seconds:
            break
        images = np.concatenate(
            [
                model.sample(n=min(CHUNK, count - start), seed=SEED, start=start, truncation=limit)
                for start in range(0, count, CHUNK)
            ]
        )
        fake = _features(
            eye(torch.from_numpy(images[start : start + CHUNK]).permute(0, 3, 1, 2)) for start in range(0, count, CHUNK)
        )
        measured[limit] = {**score(real, fake, METRICS), SATURATED: saturation(images)}
    return measured


def _curves(
    subject: Subject, count: int, limits: Sequence[float | None], measured: Mapping[float | None, Mapping[str, float]]
) -> list[Block]:
    table = {name: [measured[limit][name] for limit in limits] for name in METRICS}
    x = [FARTHEST if limit is None else limit for limit in limits]
    drawn = [
        charts.lines("Fréchet distance", [Series("fid", x, table["fid"], marked=True)], x="τ (last point: none)"),
        charts.lines(
            "Precision and recall",
            [Series(name, x, table[name], marked=True) for name in ("precision", "recall")],
            x="τ (last point: none)",
        ),
    ]
    best = int(np.argmin(table["fid"]))
    text = (
        f"Truncation at τ as in the BigGAN paper: coordinates of z outside ±τ are drawn again. {count:,} generated and as many "
        f"training images at each τ, features of {subject.eye.name}. The least Fréchet distance, {table['fid'][best]:.4g}, is at "
        f"{_name(limits[best])}. With so few images the distance is larger than the model's score; compare within this chart alone."
    )
    late = (
        f" The time sufficed for {len(limits)} of {len(THRESHOLDS)} thresholds."
        if len(limits) < len(THRESHOLDS)
        else ""
    )
    points = [{"truncation": limit, **measured[limit]} for limit in limits]
    return [Text(f"{verdict(points)} {text}{late}"), Charts(drawn)]


def _sheet(subject: Subject, limits: Sequence[float | None]) -> Sheet:
    rows = []
    for limit in limits:
        images = subject.images_to_look_at.sample(n=10, seed=SEED, truncation=limit)
        rows.append(Row(_name(limit), strip(images, f"ten samples at {_name(limit)}")))
    return Sheet(rows, caption="The same ten seeds at every τ.")


def _name(limit: float | None) -> str:
    return "no truncation" if limit is None else f"τ = {limit:g}"


def _parts(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]


def _features(chunks: Iterable[torch.Tensor]) -> Features:
    kept = torch.cat(list(chunks)).numpy()
    return Features(Moments.of(kept), kept)
