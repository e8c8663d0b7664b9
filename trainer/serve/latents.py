"""Questions as rows for the nets: z of each image, and its label.

Shape legend: n images, Z latent dimensions, D of them noise, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.families.table import families_with
from trainer.publish.controls import traversal
from trainer.publish.portable import parameters
from trainer.serve.curves import way
from trainer.serve.joining import Rows
from trainer.serve.questions import MOST_ANSWERED, MOST_PIXELS, Generate, Label, Neighbours, Path, Traverse
from trainer.serve.refusals import fitting, wrong
from trainer.serve.work import Model


@dataclass(frozen=True)
class Wanted:
    """Images to draw: z float32 [n, Z], labels int64 [n] of a model with classes, and how many stand in a row of a picture."""

    z: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    columns: int

    @property
    def rows(self) -> Rows:
        """For the net."""
        return (self.z,) if self.labels is None else (self.z, self.labels)


def generated(model: Model, asked: Generate) -> Wanted:
    """Samples. Raises RefusedError, as all here, for what the model can't do, naming the field."""
    generator, labels, codes = model.generator, _several(asked.labels), dict(asked.codes)
    fitting("labels", lambda: generator.count(None, labels))
    fitting("codes", lambda: generator.count(None, None, codes))
    if asked.seeds:
        return _of_seeds(model, asked)
    n = fitting("n", lambda: generator.count(asked.n, labels, codes))
    bound(model, n, "n")
    z = fitting("truncation", lambda: generator.latents(n, asked.seed, asked.truncation, asked.start, codes))
    classes = generator.classes(n, asked.seed, labels, asked.start)
    return Wanted(z, classes, asked.columns or math.ceil(math.sqrt(n)))


def _of_seeds(model: Model, asked: Generate) -> Wanted:
    """Image 0 of each seed."""
    generator, n, chosen, codes = model.generator, len(asked.seeds), _several(asked.labels), dict(asked.codes)
    bound(model, n, "seeds")
    fitting("seeds", lambda: generator.count(n, chosen, codes))
    z = generator.with_codes(_first(model, asked.seeds, asked.truncation), codes)
    if chosen is not None or not model.config["classes"]:
        labels = generator.classes(n, 0, chosen)
    else:
        labels = np.concatenate([generator.classes(1, seed) for seed in asked.seeds])
    return Wanted(z, labels, asked.columns or math.ceil(math.sqrt(n)))


def sampled(model: Model, asked: Neighbours) -> Wanted:
    """Samples whose neighbours are looked for."""
    return generated(
        model, Generate(n=asked.n, seed=asked.seed, labels=asked.labels, truncation=asked.truncation, codes={})
    )


def bound(model: Model, n: int, field: str) -> None:
    """Raise RefusedError if n images are more than one answer may have."""
    most = min(MOST_ANSWERED, MOST_PIXELS // model.pixels)
    if n > most:
        raise wrong(field, f"{n} images of this model are more than one answer may have", f"ask for {most} at most")


def stops(model: Model, asked: Path) -> NDArray[np.float32]:
    """z of image 0 of each seed [n, Z]."""
    return _first(model, asked.seeds, asked.truncation)


def _first(model: Model, seeds: Sequence[int], truncation: float | None) -> NDArray[np.float32]:
    draw = model.generator.latents
    return fitting("truncation", lambda: np.concatenate([draw(1, seed, truncation) for seed in seeds]))


def along(model: Model, asked: Path, stops_nZ: NDArray[np.float32], *, moving: bool) -> Wanted:
    """Frames from stop to stop; each leg has both its ends, but where frames follow each other none is shown twice.

    Latent codes are no points of a space to walk in (half of one category and half of another is none): all frames have those of
    the first stop, and only the noise [D] moves.
    """
    ends = [*stops_nZ, stops_nZ[0]] if asked.loop else list(stops_nZ)
    bound(model, (len(ends) - 1) * asked.frames, "frames")
    dim = model.config["latent"]["dim"]
    curve = asked.curve or ("slerp" if model.config["latent"]["distribution"] == "normal" else "lerp")
    legs = [way(curve, a[:dim], b[:dim], asked.frames) for a, b in pairwise(ends)]
    if moving:
        legs = [leg if number == 0 else leg[1:] for number, leg in enumerate(legs)]
        if asked.loop and sum(map(len, legs)) > 1:
            legs[-1] = legs[-1][:-1]
    noise = np.concatenate(legs)
    z = np.concatenate([noise, np.broadcast_to(ends[0][dim:], (len(noise), len(ends[0]) - dim))], axis=1)
    label = one_label(model, asked.label)
    if label is None and model.config["classes"]:
        drawn = model.generator.labels(1, asked.seeds[0]) if asked.seeds else None
        label = 0 if drawn is None else int(drawn[0])
    return Wanted(z, _all(label, len(z)), asked.columns or asked.frames)


def traversed(model: Model, asked: Traverse) -> Wanted:
    """Each row another noise, each column another value of the code, or of the step along the direction."""
    generator = model.generator
    values = _code_values(model, asked) if asked.code else _steps(asked)
    columns, rows = len(values), asked.rows
    if columns * rows > MOST_ANSWERED:
        raise wrong("rows", f"{columns} values × {rows} rows are more than {MOST_ANSWERED} images", "ask for fewer")
    bound(model, columns * rows, "rows")
    first = fitting("truncation", lambda: generator.latents(rows, asked.seed, asked.truncation))
    z = np.repeat(first, columns, axis=0)
    if asked.code:
        z = generator.with_codes(z, {asked.code: np.tile(values, rows)})
    else:
        z = (z + np.tile(values, rows)[:, None] * _unit(model, asked)).astype(np.float32)
    label = one_label(model, asked.label)
    drawn = generator.labels(rows, asked.seed)
    each = np.repeat(drawn, columns) if label is None and drawn is not None else _all(label, len(z))
    return Wanted(z, each, columns)


def one_label(model: Model, label: Label | None, field: str = "label") -> int | None:
    """The class by number or name; None for none."""
    if label is None:
        return None
    if label == "balanced":
        raise wrong(field, "'balanced' is no class", "give one class, by number or name")
    found = fitting(field, lambda: model.generator.numbered(label))
    return int(np.asarray(found)[0])


def truncated(model: Model, truncation: float) -> None:
    """Raise ValueError for a truncation that the model can't have."""
    parameters.truncation(model.config, truncation)


def needs_encoder(model: Model) -> None:
    """Raise RefusedError for a model that can't encode images."""
    if not model.config["encoder"]:
        able = ", ".join(families_with("encoder"))
        raise wrong(
            "model",
            f"family {model.config['family']} has no encoder in this package",
            f"families that have one: {able}",
        )


def _several(labels: Label | tuple[Label, ...] | None) -> Any:
    return list(labels) if isinstance(labels, tuple) else labels


def _all(label: int | None, n: int) -> NDArray[np.int64] | None:
    return None if label is None else np.full(n, label, np.int64)


def _code_values(model: Model, asked: Traverse) -> NDArray[np.float64]:
    known = {code["name"]: code for code in model.config["codes"]}
    code = known.get(asked.code)
    if code is None:
        has = f"its codes are {', '.join(known)}" if known else "it has none"
        raise wrong("code", f"the model has no latent code {asked.code!r}; {has}")
    usual = traversal(code).values
    low = usual[0] if asked.low is None else asked.low
    high = usual[-1] if asked.high is None else asked.high
    _ordered(low, high)
    if code["kind"] == "continuous":
        return np.linspace(low, high, asked.steps or len(usual))
    if low != round(low) or high != round(high) or low < usual[0] or high > usual[-1]:
        at = "low" if low != round(low) or low < usual[0] else "high"
        raise wrong(at, f"{asked.code} is categorical", f"give whole numbers from 0 to {int(usual[-1])}")
    every = int(high - low) + 1
    return np.unique(np.round(np.linspace(low, high, min(asked.steps or every, every))))


def _steps(asked: Traverse) -> NDArray[np.float64]:
    low, high = -2.0 if asked.low is None else asked.low, 2.0 if asked.high is None else asked.high
    _ordered(low, high)
    return np.linspace(low, high, asked.steps or 10)


def _ordered(low: float, high: float) -> None:
    if not low < high:
        raise wrong("low", f"{low:g} is not below high, {high:g}")


def _unit(model: Model, asked: Traverse) -> NDArray[np.float64]:
    if asked.toward is not None:
        direction: NDArray[np.float64] = model.generator.latents(1, asked.toward)[0].astype(np.float64)
        direction[model.config["latent"]["dim"] :] = 0.0  # codes are no directions
    else:
        direction = np.asarray(asked.direction, np.float64)
    if len(direction) != model.config["width"]:
        raise wrong("direction", f"has {len(direction)} numbers, and z of this model has {model.config['width']}")
    unit: NDArray[np.float64] = direction / np.linalg.norm(direction)
    return unit
