"""What lies at a dotted path of a model, by its type annotations: `optimizers.G.lr` is a float of Adam, RMSProp or Sgd.

A place is described by its kinds: the types a value there may have, with `Annotated` and unions unfolded.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Kinds = tuple[Any, ...]


def kinds_of(annotation: Any) -> Kinds:
    """The members of an annotation, with unions and `Annotated` unfolded."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds_of(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(kind for member in get_args(annotation) for kind in kinds_of(member))
    return (annotation,)


def models(kinds: Kinds) -> tuple[type[BaseModel], ...]:
    """Those kinds that are models."""
    return tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))


def fields(kinds: Kinds) -> dict[str, FieldInfo]:
    """The fields of all models among the kinds."""
    return {name: field for model in models(kinds) for name, field in model.model_fields.items()}


def descend(kinds: Kinds, part: str) -> Kinds:
    """Kinds one step further down: a field of a model, any key of a dict, any index of a tuple. () if there is nothing."""
    found: Kinds = ()
    for kind in kinds:
        origin: Any = get_origin(kind)
        if models((kind,)):
            field = kind.model_fields.get(part)
            found += kinds_of(field.annotation) if field else ()
        elif origin is dict:
            found += kinds_of(get_args(kind)[1])
        elif origin is tuple and part.isdigit():
            found += kinds_of(get_args(kind)[0])
    return tuple(dict.fromkeys(found))


def is_text(kinds: Kinds) -> bool:
    """Whether every value here is a string (or None)."""
    return bool(solid(kinds)) and all(kind is str or _is_text_literal(kind) for kind in solid(kinds))


def solid(kinds: Kinds) -> Kinds:
    """The kinds but None."""
    return tuple(kind for kind in kinds if kind is not NoneType)


def containers(kinds: Kinds) -> Kinds:
    """Those kinds that are mappings or lists. Where both may be, their tags are `dict` and `tuple`."""
    origins: list[tuple[Any, Any]] = [(kind, get_origin(kind)) for kind in kinds]
    return tuple(kind for kind, origin in origins if origin in (dict, tuple))


def tagged(kinds: Kinds, tag: str, value: Any) -> Kinds:
    """Those models whose Literal field `tag` admits `value`."""
    return tuple(
        model
        for model in models(kinds)
        if tag in model.model_fields and value in get_args(model.model_fields[tag].annotation)
    )


def _is_text_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal and all(isinstance(value, str) for value in get_args(kind))
