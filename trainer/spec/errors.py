"""Errors of a spec, each with the field's path, the value, what is wrong and the fix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NoReturn

from pydantic_core import PydanticCustomError

from trainer.schema import Frozen


class FieldError(Frozen):
    """One wrong field, as a person needs it."""

    path: str
    """Dotted path, e.g. `train.batch`."""
    message: str
    """What is wrong with it."""
    value: str = ""
    """The value that was given, as JSON, shortened."""
    fix: str = ""
    """What to do."""

    def line(self) -> str:
        """`path: message (got value); fix`."""
        given = f" (got {self.value})" if self.value else ""
        return f"{self.path or 'spec'}: {self.message}{given}" + (f"; {self.fix}" if self.fix else "")


class SpecError(ValueError):
    """A spec that can't be read or isn't valid. `errors` lists every wrong field."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__("\n".join(error.line() for error in errors))


FIELDS = "agon_fields"
"""Pydantic's error type for what `refuse` raises."""


def refuse(errors: Sequence[FieldError]) -> NoReturn:
    """Raise from a validator that checks several fields; `explain` restores each error."""
    text = "\n".join(error.line() for error in errors)
    raise PydanticCustomError(FIELDS, "{text}", {"text": text, "errors": [error.model_dump() for error in errors]})


def short(value: object) -> str:
    """The value as JSON, at most 80 characters; nothing for None."""
    text = json.dumps(value, default=str)
    return "" if value is None else text if len(text) <= 80 else text[:77] + "..."
