"""Errors of a spec, each with the field's path, the value, what is wrong and the fix."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from pydantic import ValidationError
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


def reject(path: str, value: object, message: str, fix: str) -> NoReturn:
    """Raise from a validator that checks several fields; `explain` restores the path and the fix."""
    raise PydanticCustomError(
        "agon_field", "{path}: {message}; {fix}", {"path": path, "value": _short(value), "message": message, "fix": fix}
    )


def explain(error: ValidationError) -> list[FieldError]:
    """Pydantic's errors in Agon's form."""
    return [_field_error(dict(item)) for item in error.errors(include_url=False)]


def _field_error(item: dict[str, Any]) -> FieldError:
    context = item.get("ctx", {})
    if item["type"] == "agon_field":
        return FieldError(path=context["path"], message=context["message"], value=context["value"], fix=context["fix"])
    path = _path(item["loc"])
    if item["type"] == "extra_forbidden":
        return FieldError(
            path=path, message="unknown field", value=_short(item["input"]), fix="remove it or check its spelling"
        )
    if item["type"] == "missing":
        return FieldError(path=path, message="is required", fix="add it")
    message = item["msg"].removeprefix("Value error, ")
    return FieldError(path=path, message=message, value=_short(item["input"]))


def _path(loc: tuple[int | str, ...]) -> str:
    """Dotted path without the tags that Pydantic inserts for members of a union."""
    parts = [str(part) for part in loc]
    kept = [
        part
        for index, part in enumerate(parts)
        if not (
            (index == 1 and parts[0] == "arch" and len(parts) > 2)
            or (index == 2 and parts[0] == "optimizers" and len(parts) > 3)
            or (index == 3 and parts[:2] == ["objective", "penalties"] and len(parts) > 4)
        )
    ]
    return ".".join(kept)


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return "" if value is None else text if len(text) <= 80 else text[:77] + "..."
