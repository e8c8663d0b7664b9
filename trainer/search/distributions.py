"""What a field of the spec may be drawn from.

Written short (`{loguniform: [1e-5, 1e-2]}`, `[16, 32, 64]` for a choice) or in full (`{kind: loguniform, low: 1e-5, high: 1e-2}`).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from trainer.schema import Frozen
from trainer.spec.errors import FieldError, refuse, short
from trainer.strict import MAX_INTEGER

MOST_VALUES = 100_000
"""Of a field that is drawn from a grid of values."""


class Drawn(Frozen):
    """What all distributions share."""

    also: tuple[str, ...] = Field(default=(), max_length=20)
    """Other paths that get the same value, e.g. D's learning rate beside G's."""
    when: dict[str, JsonValue] = Field(default_factory=dict, max_length=20)
    """Only where these fields of the trial have this value (a list: one of these values); elsewhere the base's value stays."""


class _Range(Drawn):
    low: float
    """Smallest value."""
    high: float
    """Largest value."""

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        if self.low >= self.high:
            refuse([FieldError(path="high", message=f"is not above low ({self.low:g})", value=short(self.high))])
        if not math.isfinite(self.high - self.low):
            refuse([FieldError(path="high", message=f"is too far above low ({self.low:g})", value=short(self.high))])
        return self


class Uniform(_Range):
    """Real numbers, each equally likely."""

    kind: Literal["uniform"] = "uniform"


class LogUniform(_Range):
    """Real numbers, each order of magnitude equally likely: for learning rates and weights."""

    kind: Literal["loguniform"] = "loguniform"

    @model_validator(mode="after")
    def _positive(self) -> LogUniform:
        if self.low <= 0:
            refuse([FieldError(path="low", message="must be above 0", value=short(self.low), fix="or use uniform")])
        return self


class QUniform(_Range):
    """low, low + q, low + 2q, … up to high, each equally likely."""

    kind: Literal["quniform"] = "quniform"
    q: float = Field(gt=0)
    """Step."""

    @model_validator(mode="after")
    def _countable(self) -> QUniform:
        if (self.high - self.low) / self.q > MOST_VALUES:
            fix = f"at most {MOST_VALUES:,} steps between low and high; or use uniform"
            refuse([FieldError(path="q", message="is too small for that range", value=short(self.q), fix=fix)])
        return self

    def values(self) -> list[float]:
        """All of them."""
        count = int((self.high - self.low) / self.q + 1e-9) + 1
        return [round(self.low + index * self.q, 12) for index in range(count)]


class RandInt(Drawn):
    """Whole numbers, both ends included."""

    kind: Literal["randint"] = "randint"
    low: int = Field(ge=-MAX_INTEGER, le=MAX_INTEGER)
    """Smallest value."""
    high: int = Field(ge=-MAX_INTEGER, le=MAX_INTEGER)
    """Largest value."""
    log: bool = False
    """Each order of magnitude equally likely instead of each number."""

    @model_validator(mode="after")
    def _ordered(self) -> RandInt:
        if self.low >= self.high:
            refuse([FieldError(path="high", message=f"is not above low ({self.low})", value=short(self.high))])
        if self.log and self.low < 1:
            refuse([FieldError(path="low", message="must be at least 1 with log", value=short(self.low))])
        return self


class Choice(Drawn):
    """One of several values of any type the field takes."""

    kind: Literal["choice"] = "choice"
    values: tuple[JsonValue, ...] = Field(min_length=1, max_length=1000)
    """The values."""


ARGUMENTS = {
    "uniform": ("low", "high"),
    "loguniform": ("low", "high"),
    "quniform": ("low", "high", "q"),
    "randint": ("low", "high"),
}
"""Kinds by the names of the numbers in their short form."""


def _in_full(raw: Any) -> Any:
    """The short form as the full one; anything else as it is."""
    if isinstance(raw, list | tuple):
        return {"kind": "choice", "values": list(raw)}
    if not isinstance(raw, dict) or "kind" in raw:
        return raw
    rest = dict(raw)
    if "choice" in rest:
        return {"kind": "choice", "values": rest.pop("choice"), **rest}
    for kind, names in ARGUMENTS.items():
        if kind in rest:
            numbers = rest.pop(kind)
            if not isinstance(numbers, list | tuple) or len(numbers) != len(names):
                fix = f"write {kind}: [{', '.join(names)}]"
                refuse([FieldError(path=kind, message="has the wrong arguments", value=short(numbers), fix=fix)])
            return {"kind": kind, **dict(zip(names, numbers, strict=True)), **rest}
    return raw


Distribution = Annotated[
    Annotated[Uniform | LogUniform | QUniform | RandInt | Choice, Field(discriminator="kind")],
    BeforeValidator(_in_full),
]
