"""What stands above the sections of a training's page."""

from __future__ import annotations

from trainer.report.page import Head
from trainer.report.subject import Subject
from trainer.report.verdict import verdict
from trainer.spec.sections import HIGHER_IS_BETTER


def head_of(subject: Subject) -> Head:
    """Name, what the model is, how its training looks, its scores and what they rest on."""
    tiles = [(f"{value:.4g}", f"{name} · {_better(name)}") for name, value in subject.scores.items()]
    found = verdict(subject.spec, subject.history, ended=subject.ended)
    said = None if found is None else (found.word.value, found.reason)
    return Head(subject.name, describe(subject), tiles, basis(subject), said)


def basis(subject: Subject) -> str:
    """What the scores at the head of the page rest on; empty if it isn't known."""
    known = subject.provenance
    if not subject.scores or "extractor" not in known:
        return ""
    counts = f" of {int(known['samples']):,} generated images" if "samples" in known else ""
    return (
        f"Scores by features of {known['extractor']}{counts}; they compare only with scores of the same basis (below)."
    )


def describe(subject: Subject) -> str:
    """What the model is, in a sentence."""
    arch = subject.arch
    known = f"class-conditional ({arch.classes} classes)" if arch.conditional else "unconditional"
    colour = "RGB" if arch.channels == 3 else "grey"
    trained = subject.facts.get("trained", "")
    return (
        f"{'A' if arch.conditional else 'An'} {known} generator of family {arch.family}, "
        f"{arch.resolution} × {arch.resolution} pixels, {colour}.{f' Trained: {trained}.' if trained else ''}"
    )


def _better(name: str) -> str:
    return "higher is better" if name in HIGHER_IS_BETTER else "lower is better"
