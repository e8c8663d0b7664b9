"""Whether a new version becomes the champion. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Gate = Literal["better", "always", "never"]
LOWER_IS_BETTER = frozenset({"fid", "kid", "reconstruction"})
WITHOUT_EXTRACTOR = frozenset({"reconstruction"})
"""Scores of pixels: the feature extractor has no part in them."""


@dataclass(frozen=True)
class Standing:
    """What the gate knows of a version. None: its publisher did not say."""

    version: str
    score: float | None
    dataset_digest: str | None
    extractor_digest: str | None
    samples: str | None = None
    """Generated and real images that the score is of, e.g. "10000/1797": distances shrink with the number."""


@dataclass(frozen=True)
class Verdict:
    """champion: whether the challenger is champion from now on. reason: a sentence for a person."""

    champion: bool
    reason: str


def judge(gate: Gate, metric: str, challenger: Standing, incumbent: Standing | None) -> Verdict:
    """Let `challenger` meet the present champion (None: there is none).

    `better`: it wins with a score that is better than the incumbent's on the same dataset digest, extractor and sample
    counts; a tie keeps the incumbent. What can't be compared doesn't win. `always` and `never` say it themselves.
    A score that is NaN or infinite never wins.
    """
    name = f"version {challenger.version}"
    if gate == "never":
        return Verdict(False, f"{name} is not champion: publish.gate is never")
    if challenger.score is not None and not math.isfinite(challenger.score):
        return Verdict(False, f"{name} is not champion: its {metric} is {challenger.score}")
    if incumbent is not None and incumbent.version == challenger.version:
        return Verdict(True, f"{name} is champion already")
    if incumbent is None:
        if gate == "better" and challenger.score is None:
            return Verdict(False, f"{name} is not champion: it has no {metric}")
        return Verdict(True, f"{name} is champion: the model had none")
    if gate == "always":
        return Verdict(True, f"{name} is champion in place of version {incumbent.version}: publish.gate is always")
    return _compare(name, metric, challenger, incumbent)


def _compare(name: str, metric: str, challenger: Standing, incumbent: Standing) -> Verdict:
    if challenger.score is None:
        return Verdict(False, f"{name} is not champion: it has no {metric}")
    if obstacle := _incomparable(metric, challenger, incumbent):
        return Verdict(
            False, f"{name} is not champion: it can't be compared with champion version {incumbent.version}, {obstacle}"
        )
    theirs = incumbent.score
    assert theirs is not None  # noqa: S101 — _incomparable said so
    lower = metric in LOWER_IS_BETTER
    wins = not math.isfinite(theirs) or (challenger.score < theirs if lower else challenger.score > theirs)
    figures = f"{metric} {challenger.score:.6g} against {theirs:.6g} of version {incumbent.version}, {'lower' if lower else 'higher'} is better"
    return Verdict(wins, f"{name} is {'' if wins else 'not '}champion: {figures}")


def _incomparable(metric: str, challenger: Standing, incumbent: Standing) -> str | None:
    """Why the two scores don't compare; None if they do."""
    if incumbent.score is None:
        return f"which has no {metric}"
    if challenger.dataset_digest is None or challenger.dataset_digest != incumbent.dataset_digest:
        return f"whose data is {_short(incumbent.dataset_digest)}, not {_short(challenger.dataset_digest)}"
    known = challenger.extractor_digest is not None and challenger.extractor_digest == incumbent.extractor_digest
    if not known and metric not in WITHOUT_EXTRACTOR:
        return (
            f"which was scored with extractor {_short(incumbent.extractor_digest)}, "
            f"not {_short(challenger.extractor_digest)}"
        )
    if challenger.samples != incumbent.samples:
        return f"which was scored with {incumbent.samples} generated/real images, not {challenger.samples}"
    return None


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:12]
