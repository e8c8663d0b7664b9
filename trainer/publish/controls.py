"""What a picture of a model varies, as the command line says it: `c1=0..9`, `c2=-1:1:10`, `c1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.families.table import families_with

SPAN = (-2.0, 2.0)
"""A continuous code's range in a traversal. Trained on (-1, 1), it is shown from -2 to 2 (Chen et al. 2016, Figure 2)."""
STEPS = 10
MOST = 1000
FORMS = "write NAME=3, NAME=0,4,7, NAME=0..9 or NAME=FROM:TO:COUNT"


@dataclass(frozen=True)
class Axis:
    """A latent code and the values that it takes, at least one."""

    code: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Controls:
    """Codes with one value for all images, and the one or two that vary: along each row, and from row to row."""

    fixed: Mapping[str, float]
    varied: tuple[Axis, ...]


def controls(config: Mapping[str, Any], codes: Sequence[str], traversed: Sequence[str]) -> Controls:
    """What `--code` and `--traverse` ask of the model with this `config.json`.

    Raises ValueError for a code that the model hasn't, that is named twice, or that can't have the value, for what is no
    list of values, and for more than two codes that vary.
    """
    known = {code["name"]: code for code in config["codes"]}
    axes = [_axis(text) for text in codes]
    for name in [axis.code for axis in axes] + list(traversed):
        if name not in known:
            able = f"families that have: {', '.join(families_with('codes'))}"
            none = f"family {config['family']} has no latent codes; {able}"
            has = f"its codes are {', '.join(known)}" if known else none
            raise ValueError(f"code {name!r} is asked for, but {has}")
    axes += [traversal(known[name]) for name in traversed]
    names = [axis.code for axis in axes]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"code {twice[0]} is named twice; name it once, with all its values")
    varied = tuple(axis for axis in axes if len(axis.values) > 1)
    if len(varied) > 2:
        raise ValueError(f"{', '.join(axis.code for axis in varied)} vary; a picture has room for two, fix the others")
    return Controls({axis.code: axis.values[0] for axis in axes if len(axis.values) == 1}, varied)


def traversal(code: Mapping[str, Any]) -> Axis:
    """All values of a categorical code; a continuous one from -2 to 2 in 10 steps."""
    if code["kind"] == "categorical":
        return Axis(code["name"], tuple(float(value) for value in range(code["size"])))
    return Axis(code["name"], tuple(np.linspace(*SPAN, STEPS).tolist()))


def _axis(text: str) -> Axis:
    """`c1=3`, `c1=0,4,7`, `c1=0..9` (whole numbers, both ends) or `c2=-1:1:10` (so many, evenly spaced, both ends)."""
    name, equals, values = text.partition("=")
    try:
        if not name or not equals:
            raise ValueError
        return Axis(name.strip(), _values(values))
    except ValueError:
        raise ValueError(f"--code {text}: is not understood; {FORMS}") from None


def _values(text: str) -> tuple[float, ...]:
    if ".." in text:
        first, last = (int(part) for part in text.split(".."))
        if not first <= last < first + MOST:
            raise ValueError
        return tuple(float(value) for value in range(first, last + 1))
    if ":" in text:
        start, stop, count = text.split(":")
        if not 1 <= int(count) <= MOST:
            raise ValueError
        return tuple(np.linspace(float(start), float(stop), int(count)).tolist())
    return tuple(float(value) for value in text.split(","))
