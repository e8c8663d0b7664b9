"""The base of every Pydantic model that crosses a boundary: frozen, closed, finite."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, refuses unknown keys and NaN/inf; attribute docstrings become schema descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
