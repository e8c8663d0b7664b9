"""Values of fields: as text for tables, as places on an axis."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from trainer.search.distributions import Choice, Distribution, LogUniform, RandInt

LONGEST = 60
WIDE_RANGE = 10.0
"""Scores that differ by more than this factor are drawn on a logarithmic axis."""


def shown(value: JsonValue) -> str:
    """A value in a table: numbers to 5 digits, texts as they are, cut after 60 letters."""
    if isinstance(value, float):
        return f"{value:.5g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def changed(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> str:
    """`path: old → new` of the fields that differ; a field that one of the two lacks is "not used" there."""
    parts = [
        f"{path}: {shown(before[path]) if path in before else 'not used'} → {shown(after[path]) if path in after else 'not used'}"
        for path in dict.fromkeys((*before, *after))
        if before.get(path) != after.get(path) or (path in before) != (path in after)
    ]
    return "; ".join(parts) or "as before"


def drawn_from(distribution: Distribution) -> str:
    """`loguniform 1e-05 … 0.01`, `one of 16, 32`."""
    if isinstance(distribution, Choice):
        return f"one of {', '.join(shown(value) for value in distribution.values)}"
    text = f"{distribution.kind} {distribution.low:g} … {distribution.high:g}"
    if distribution.kind == "quniform":
        return f"{text} in steps of {distribution.q:g}"
    return f"{text}, log" if isinstance(distribution, RandInt) and distribution.log else text


def wide(scores: Sequence[float]) -> bool:
    """Whether scores want a logarithmic axis: all above 0, and far apart."""
    return bool(scores) and min(scores) > 0 and max(scores) > WIDE_RANGE * min(scores)


@dataclass(frozen=True)
class Scale:
    """How a field's values lie on its axis. log: by their logarithm. names: of categories, which lie at 0, 1, 2, …"""

    log: bool = False
    names: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, distribution: Distribution) -> Scale:
        """The distribution's own. Choices of numbers alone that ascend are categories too: their steps are what was chosen from."""
        if isinstance(distribution, Choice):
            return cls(names=tuple(map(shown, distribution.values)), keys=tuple(map(key, distribution.values)))
        return cls(log=isinstance(distribution, LogUniform) or bool(getattr(distribution, "log", False)))

    def place(self, value: JsonValue) -> float | None:
        """Where the value lies (before the logarithm); None for one that the axis doesn't hold."""
        if self.keys:
            return float(self.keys.index(key(value))) if key(value) in self.keys else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return None if self.log and value <= 0 else float(value)


def key(value: JsonValue) -> str:
    """A value as a text that equal values share and others don't."""
    return json.dumps(value, sort_keys=True)
