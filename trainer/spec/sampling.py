"""How often each class is drawn for training: `data.sampling` and `data.weights` against the names of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trainer.spec.data import Data
from trainer.spec.errors import FieldError, short

NAMED = 12
"""Class names that a message lists."""


def class_weights(data: Data, names: Sequence[str]) -> tuple[float, ...]:
    """How often each class is drawn, relative to the others, whatever it has of images. Not for `natural` sampling.

    Raises ValueError for weights that don't fit the names; :func:`wrong_weights` says what is wrong.
    """
    given = data.weights
    if data.sampling == "balanced" or given is None:
        return (1.0,) * len(names)
    if not isinstance(given, Mapping):
        if len(given) != len(names):
            raise ValueError(f"{len(given)} weights for {len(names)} classes")
        return tuple(given)
    found = [1.0] * len(names)
    for name, weight in given.items():
        found[_number(name, names)] = weight
    return tuple(found)


def wrong_weights(data: Data, names: Sequence[str]) -> Iterator[FieldError]:
    """What of the sampling doesn't fit data with these classes."""
    if data.sampling == "natural":
        return
    if not names:
        fix = "use natural, or pack images that have labels"
        yield _wrong("data.sampling", data.sampling, "needs classes, and the data has no labels", fix)
        return
    if isinstance(data.weights, Mapping):
        numbers = []
        for name in data.weights:
            try:
                numbers.append(_number(name, names))
            except ValueError:
                yield _wrong(f"data.weights.{name}", name, "is no class of the data", f"classes: {listed(names)}")
        for number in sorted({number for number in numbers if numbers.count(number) > 1}):
            message = f"gives class {names[number]!r} two weights, by name and by number"
            yield _wrong("data.weights", dict(data.weights), message, "keep one")
    elif data.weights is not None and len(data.weights) != len(names):
        message = f"has {len(data.weights)} weights, and the data {len(names)} classes"
        yield _wrong(
            "data.weights",
            list(data.weights),
            message,
            f"give one for each in this order: {listed(names)}; or a mapping",
        )


def listed(names: Sequence[str]) -> str:
    """The names for a message; of many, the first."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown}, … ({len(names):,} in all)"


def _number(name: str, names: Sequence[str]) -> int:
    """The class that is meant: a name goes before a number, where classes are called 0, 1, 2, 10."""
    if name in names:
        return names.index(name)
    if name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(names):
        return int(name)
    raise ValueError(f"no class {name!r}")


def _wrong(path: str, value: object, message: str, fix: str) -> FieldError:
    return FieldError(path=path, message=message, value=short(value), fix=fix)
