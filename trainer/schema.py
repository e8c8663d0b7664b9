"""The base of every Pydantic model that crosses a boundary: frozen, closed, finite."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, refuses unknown keys and NaN/inf; attribute docstrings become schema descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated like a new one (`model_copy` would not be). Raises ValidationError."""
        return type(self).model_validate({**dict(self), **changes})
