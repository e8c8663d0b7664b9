"""The section of a job spec that says which images it trains on, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator

from trainer.schema import MOST_IMAGES, Frozen

SCHEMES = ("file", "http", "https", "s3", "gs")
LEAST_WEIGHT = 0.001
"""Smallest weight of a class that is drawn at all."""


def location(url: str) -> str:
    """A path or a URL of an allowed scheme; nothing that could run a shell or unpickle. Raises ValueError."""
    scheme, colon, _ = url.partition(":")
    if colon and scheme.lower() not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is not allowed; use a path or one of {', '.join(SCHEMES)}")
    if not url.strip() or not url.isprintable():
        raise ValueError("must be a path or URL of printable characters")
    try:
        urlsplit(url)
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    return url


def _by_text(weights: object) -> object:
    """YAML reads a class called 7 as a number; here it is a name like others."""
    if not isinstance(weights, Mapping):
        return weights
    return {str(name) if isinstance(name, int) else name: weight for name, weight in weights.items()}


def _drawn(weights: Mapping[str, float] | tuple[float, ...]) -> Mapping[str, float] | tuple[float, ...]:
    every = weights.values() if isinstance(weights, Mapping) else weights
    if wrong := [weight for weight in every if 0 < weight < LEAST_WEIGHT]:
        raise ValueError(f"{wrong[0]:g} is too small; give 0, or {LEAST_WEIGHT:g} to 1000")
    return weights


_Weight = Annotated[float, Field(ge=0, le=1000)]
Weights = Annotated[
    Annotated[
        Annotated[dict[str, _Weight], BeforeValidator(_by_text), Tag("dict")]
        | Annotated[tuple[_Weight, ...], Tag("tuple")],
        Discriminator(lambda given: "dict" if isinstance(given, Mapping) else "tuple"),
    ],
    AfterValidator(_drawn),
    Field(min_length=1, max_length=100_000),
]


class Data(Frozen):
    """Which images, and in which order."""

    url: str = Field(default="builtin:digits", max_length=2000)
    """Where `dataset.json` lies: `builtin:digits`, a path, or a file://, http(s)://, s3:// or gs:// folder."""
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Expected digest of the dataset; a job on other data is refused. None accepts what is there."""
    lanes: int = Field(default=8, ge=1, le=4096)
    """Independent lanes of the sample stream. The global batches are the same for every worker count that divides it."""
    decode_threads: int = Field(default=1, ge=0, le=64)
    """Threads a worker decodes with, ahead of training; 0 decodes in the training thread. The order never depends on it."""
    on_bad_shard: Literal["fail", "skip"] = "fail"
    """A shard that stays missing, truncated or altered after some tries: `fail` the job, or `skip` and count it."""
    held_out: int = Field(default=0, ge=0, le=MOST_IMAGES)
    """Images at the dataset's end that are never trained on (packing shuffles them): `sentinel.d_gap` needs some, e.g. 1000."""
    sampling: Literal["natural", "balanced", "weights"] = "natural"
    """How often classes are drawn to train on: as often as they occur, all equally often, or by `data.weights`. Scores compare
    with the data as they are."""
    weights: Weights | None = None
    """With `sampling: weights`, how often classes are drawn relative to each other: a mapping of name or number (others have 1), or
    a list of all in label order. 0 leaves a class out."""
    mirror: bool = False
    """Flip images horizontally at random (a pure function of seed, batch and row)."""

    @field_validator("url")
    @classmethod
    def _allowed(cls, url: str) -> str:
        if url.startswith("builtin:"):
            if url != "builtin:digits":
                raise ValueError(f"no builtin dataset {url!r}; there is builtin:digits")
            return url
        return location(url)
