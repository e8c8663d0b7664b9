"""The base of every Pydantic model that crosses a boundary: frozen, closed, finite."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

MOST_STEPS = 1_000_000_000
MOST_IMAGES = 1_000_000_000_000
MOST_BATCH = 1 << 20
MOST_UNITS = 1 << 16
MOST_WEIGHT = 1e6
MOST_SECONDS = 1e9
"""Upper bounds of what a person gives: far beyond anything that trains, and within what databases, JSON and 32 bits of a float hold."""


class Frozen(BaseModel):
    """Immutable, refuses unknown keys and NaN/inf; attribute docstrings become schema descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated like a new one (`model_copy` would not be). Raises ValidationError."""
        return type(self).model_validate({**dict(self), **changes})
