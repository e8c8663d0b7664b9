"""What a caller asks of a generator, checked against its `config.json`. Part of every package; needs numpy alone.

Every function raises ValueError that names the parameter, its value and what is possible.

Shape legend: n images, Z latent dimensions, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_TRUNCATION = 0.01
"""Below it, latents are all but zero, and older packages draw forever."""
NAMED = 20
"""Class names that an error lists."""
Labels = int | str | Sequence[int | str] | NDArray[np.int64]
"""Classes by number or name; or "balanced"."""
Codes = Mapping[str, float | Sequence[float] | NDArray[np.float64]]
"""Latent codes by name (`codes` in config.json): one value for all images, or one for each."""
Config = Mapping[str, Any]


def whole(name: str, value: Any) -> int:
    """The value as int, if it is a whole number."""
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{name} is {value!r}; give a whole number")
    return number


def span(n: Any, start: Any) -> tuple[int, int]:
    """How many images, and the number of the first."""
    count, first = whole("n", n), whole("start", start)
    if count < 1:
        raise ValueError(f"n is {count}; ask for 1 or more")
    if first < 0:
        raise ValueError(f"start is {first}; begin at 0 or later")
    return count, first


def asked(n: Any, labels: NDArray[np.int64] | str | None, codes: Mapping[str, NDArray[Any]], classes: int) -> int:
    """How many images are asked for: n; or as many as there are labels or values of a code; or 1."""
    balanced = isinstance(labels, str)
    lengths = [classes] if balanced else [] if labels is None else [len(labels)]
    count = whole("n", n if n is not None else max([*lengths, *(c.size for c in codes.values() if c.ndim)], default=1))
    if not balanced and lengths and lengths[0] not in (1, count):
        raise ValueError(f"labels has {lengths[0]} entries but n is {count}; give n labels, or one for all")
    for name, values in codes.items():
        if values.shape not in ((), (1,), (count,)):
            raise ValueError(f"code {name} has {values.size} values for {count} images; give one, or as many")
    return count


def latents(config: Config, z: Any) -> NDArray[np.float32]:
    """z as float32 [n, Z] of finite numbers."""
    width = config["width"]
    try:
        given = np.ascontiguousarray(z, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"z is a {type(z).__name__} that is no array of numbers; give [n, {width}]") from None
    if given.ndim != 2 or given.shape[1] != width or not len(given) or not np.isfinite(given).all():
        raise ValueError(f"z has shape {list(given.shape)}; give finite numbers [n, {width}]")
    return given


def images(config: Config, given: Any) -> NDArray[np.uint8]:
    """Images of the model's own size, uint8 [n, H, W, C]."""
    size, channels = config["resolution"], config["channels"]
    found = np.asarray(given)
    if found.dtype != np.uint8 or found.shape[1:] != (size, size, channels) or not len(found):
        raise ValueError(f"images are {found.dtype} {list(found.shape)}; give uint8 [n, {size}, {size}, {channels}]")
    return found


def codes(config: Config, given: Codes | None) -> dict[str, NDArray[np.float64]]:
    """The values asked for, each a number or a list of numbers that the code can be."""
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"codes is {given!r}; give a mapping such as {{'c1': 3}}")
    return {name: _values(config, name, values) for name, values in (given or {}).items()}


def _values(config: Config, name: str, values: Any) -> NDArray[np.float64]:
    known = {code["name"]: code for code in config["codes"]}
    if name not in known:
        has = f"its codes are {', '.join(known)}" if known else "this model has no codes"
        raise ValueError(f"codes has {name!r}, but {has}")
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.asarray(np.nan)
    if array.ndim > 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"code {name} is {values!r}; give a number, or one for each image")
    size = known[name]["size"]
    whole_numbers = (array == array.round()).all() and array.min() >= 0 and array.max() < size
    if known[name]["kind"] == "categorical" and not whole_numbers:
        raise ValueError(f"code {name} is {values!r}; give whole numbers in [0, {size})")
    return array


def labels(config: Config, given: Labels | None) -> NDArray[np.int64] | str | None:
    """Classes, int64; or "balanced"; or None for random ones."""
    if given is None or np.size(given) == 0:
        return None
    if not config["classes"]:
        raise ValueError(f"labels is {given!r}, but this model has no classes; leave labels out")
    if isinstance(given, str) and given == "balanced":
        return given
    every = given if isinstance(given, (list, tuple)) else np.atleast_1d(np.asarray(given)).tolist()
    return np.array([_number(config, label) for label in every], np.int64)


def _number(config: Config, label: Any) -> int:
    """The class that is meant. A name goes before a number, where classes are called 0, 1, 2, 10."""
    if isinstance(label, str):
        names = [str(name) for name in config.get("class_names", ())]
        if label in names:
            return names.index(label)
        if not (label.isascii() and label.isdigit() and len(label) < 10):
            raise ValueError(f"labels holds {label!r}; give {_possible(config)}, or 'balanced' alone")
        label = int(label)
    number = whole("labels", label)
    if not 0 <= number < config["classes"]:
        raise ValueError(f"labels holds {number}; give {_possible(config)}")
    return number


def _possible(config: Config) -> str:
    """The classes, with their names where they say more than the numbers."""
    classes, names = config["classes"], [str(name) for name in config.get("class_names", ())]
    if not names or names == [str(number) for number in range(classes)]:
        return f"numbers in [0, {classes})"
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names[:NAMED]))
    return f"names, or numbers in [0, {classes}): {listed}{', …' if len(names) > NAMED else ''}"


def truncation(config: Config, given: float | None) -> float | None:
    """The threshold, or None for none."""
    if given is None:
        return None
    number = isinstance(given, (int, float, np.number)) and not isinstance(given, bool)
    if not number or not given >= MIN_TRUNCATION:
        raise ValueError(f"truncation is {given!r}; give a number from {MIN_TRUNCATION} on, or leave it out")
    prior = config["latent"]["distribution"]
    if prior != "normal":
        raise ValueError(f"truncation is {given}, but this model's prior is {prior}; it needs a normal prior")
    return float(given)
