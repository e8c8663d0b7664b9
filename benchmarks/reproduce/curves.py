"""Curves over the training, drawn from the results' JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.pictures import CRITIC, EXACT, FAKE, REAL, canvas
from benchmarks.reproduce.protocols.truncation import points_of

Curve = list[tuple[int, float]]
POINTS = 200
"""Most points of a curve that a result keeps."""
NONE_AT = 4.0
"""Where a curve's point without truncation is drawn."""
TRUNCATED = (
    ("fid", "Fréchet distance", 1.0),
    ("agreement", "classifier agrees with the asked label (%)", 100.0),
    ("diversity", "variety within a class (real images: 1)", 1.0),
    ("saturated", "saturated pixels beyond no truncation (% of all)", 100.0),
)
ENTROPY = 2.302585
"""H(c) of a code of ten equally likely values, in nats."""


def thinned(curve: Curve, points: int = POINTS) -> Curve:
    """At most `points` of a curve, each the mean of the values up to it."""
    if len(curve) <= points:
        return curve
    bounds = [round(i * len(curve) / points) for i in range(points + 1)]
    chunks = [curve[first:last] for first, last in pairwise(bounds)]
    return [(chunk[-1][0], sum(value for _, value in chunk) / len(chunk)) for chunk in chunks]


def draw(results: Path, pictures: Path) -> Iterator[Path]:
    """Every picture whose results are there; yields the paths."""
    found = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    if "infogan" in found:
        yield _information(pictures / "infogan-information.png", found["infogan"], found.get("infogan-gan"))
    if "biggan-mnist" in found and points_of(found["biggan-mnist"]):
        yield _truncation(
            pictures / "biggan-mnist-truncation-curve.png", found["biggan-mnist"], found.get("biggan-mnist-free")
        )
    for name in ("wgan", "wgan-gp"):
        if name in found and len(found[name]["runs"][0]["critic"]) > 1:
            yield _critic(pictures / f"{name}-critic.png", found[name]["runs"][0]["critic"])


def _truncation(path: Path, regularised: dict[str, Any], free: dict[str, Any] | None) -> Path:
    """What truncation does to a generator, with orthogonal regularisation and without (Brock et al. 2019, section 3.1)."""
    kinds = ((regularised, REAL, "with orthogonal regularisation"), (free, FAKE, "without"))
    curves = [(points_of(result), colour, label) for result, colour, label in kinds if result and points_of(result)]
    with canvas(path, 2, 2) as panels:
        for axes, (name, title, factor) in zip(panels, TRUNCATED, strict=True):
            for points, colour, label in curves:
                known = [point for point in points if point[name] is not None]
                x = [NONE_AT if point["truncation"] is None else point["truncation"] for point in known]
                base = points[-1]["saturated"] if name == "saturated" else 0.0
                axes.plot(x, [factor * (point[name] - base) for point in known], "o-", color=colour, label=label)
            axes.set(title=title, xlabel="threshold τ (last point: no truncation)", xscale="log")
            axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2, NONE_AT], ["0.05", "0.1", "0.2", "0.5", "1", "2", "none"])
            axes.minorticks_off()
            axes.set_xlim(0.033, 5.0)
            axes.grid(alpha=0.25)
        panels[0].set_yscale("log")
        panels[0].legend(frameon=False)
    return path


def _information(path: Path, coded: dict[str, Any], plain: dict[str, Any] | None) -> Path:
    """L_I over the training beside a plain GAN's (Chen et al. 2016, figure 1)."""
    with canvas(path, 1, size=(6.0, 3.6)) as (axes,):
        axes.axhline(ENTROPY, color=EXACT, ls="--", label="H(c) = 2.30")
        for result, colour, name in ((coded, REAL, "InfoGAN"), (plain, FAKE, "GAN whose Q only reads")):
            for number, run in enumerate(result["runs"] if result else []):
                images, values = zip(*run["information"], strict=True) if run["information"] else ((), ())
                axes.plot(images, values, color=colour, label=name if number == 0 else None)
        axes.set(
            title="Bound of the mutual information of c1 and the image", xlabel="real images shown", ylabel="L_I (nats)"
        )
        axes.legend(frameon=False)
        axes.grid(alpha=0.25)
    return path


def _critic(path: Path, points: list[tuple[int, float, float]]) -> Path:
    """The critic's estimate and the Fréchet distance over the training, and against each other."""
    images, estimates, distances = zip(*points, strict=True)
    with canvas(path, 2) as (left, right):
        left.plot(images, estimates, "o-", color=CRITIC, label="critic's estimate of W₁ (× its scale)")
        left.set(title="Over the training", xlabel="real images shown", ylabel="estimate")
        other = left.twinx()
        other.plot(images, distances, "s-", color=FAKE, label="Fréchet distance")
        other.set(ylabel="Fréchet distance", yscale="log")
        left.legend(handles=[*left.lines, *other.lines], frameon=False)
        right.plot(estimates, distances, "o", color=REAL)
        right.set(title="Against each other", xlabel="critic's estimate", ylabel="Fréchet distance", yscale="log")
        right.grid(alpha=0.25)
    return path
