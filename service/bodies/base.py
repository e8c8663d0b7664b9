"""What every body is: a request, an answer, or a page of answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, ValidatorFunctionWrapHandler
from pydantic import WrapValidator as Wrap
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Request(BaseModel):
    """A request's body: a field that it doesn't know is refused, since it was meant to do something."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Reply(BaseModel):
    """An answer's body: immutable, and tolerant of what is new: an older client keeps a newer server's fields."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True, protected_namespaces=())

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema promises no fields beyond those that it names."""
        schema = handler(core)
        handler.resolve_ref_schema(schema).pop("additionalProperties", None)
        return schema


class Tagged(Reply):
    """The body of what people change."""

    etag: str = ""
    """What it is by now, as far as people change it, in its quotes: an edit with it as `If-Match` is refused if someone has made
    another one since."""


class Page(Reply, Generic[T]):
    """One page of a list."""

    # Pydantic would search all loaded modules for the source of each `Page[...]`, which has none.
    model_config = ConfigDict(use_attribute_docstrings=False)

    items: tuple[T, ...]
    next_cursor: str | None = Field(
        None, description="Give it as `cursor` to get the next page; null: this is the last."
    )


def or_new(kind: type[E]) -> Wrap:
    """A field of that enumeration also takes a member that a newer server has: an older client shows it by its name."""

    def read(value: Any, known: ValidatorFunctionWrapHandler) -> Any:
        try:
            return known(value)
        except ValidationError:
            if not isinstance(value, str):
                raise
            member = str.__new__(kind, value)
            member._name_ = member._value_ = value
            return member

    return Wrap(read)
