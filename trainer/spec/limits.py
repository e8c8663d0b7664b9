"""The spec's section on when a run ends though its work isn't done."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from trainer.schema import MOST_IMAGES, MOST_SECONDS, Frozen

WARNED_AT = 0.9
"""The share of a limit at which the run is warned."""
UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
MOST_TEXT = 100
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,3})?"
_PERIOD = re.compile(rf"(?:{_NUMBER} ?[dhms] ?)+")
_PART = re.compile(rf"({_NUMBER}) ?([dhms])")


def seconds_of(given: object) -> object:
    """`90m`, `1d 12h`, `1.5h` in seconds. What is no text is left as it is. Raises ValueError."""
    if isinstance(given, bool):
        raise ValueError("is no length of time")
    if not isinstance(given, str):
        return given
    if len(given) > MOST_TEXT or not _PERIOD.fullmatch(given.strip() + " "):
        raise ValueError("is no length of time; write seconds, or e.g. 45s, 90m, 2h, 1d 12h")
    return sum(float(number) * UNITS[unit] for number, unit in _PART.findall(given))


def period(seconds: float) -> str:
    """For a person, and read back by `seconds_of` as as many seconds but for rounding: `1d 12h`, `1h 30m`, `45s`."""
    left, parts = round(seconds), []
    for unit, length in UNITS.items():
        count, left = divmod(left, int(length))
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts) or f"{math.ceil(seconds * 1000) / 1000:g}s"


def plateau(metric: str, best: float | None, since: int, after: int) -> str:
    """What `no_better_after` says of so many images since the best score."""
    than = "" if best is None else f" than {best:.4g}"
    return f"limits.no_better_after: {metric} has not been better{than} for {since:,} of {after:,} images"


_Number = Annotated[float, Field(gt=0.0, le=MOST_SECONDS)]
_Text = Annotated[str, Field(max_length=MOST_TEXT)]
Seconds = Annotated[_Number, BeforeValidator(seconds_of, json_schema_input_type=_Number | _Text)]


class Limits(Frozen):
    """When the run ends though its work isn't done: it saves a checkpoint, as when it is cancelled (docs/limits.md). null: never.
    Times are seconds, or text: `90m`, `2h`, `1d 12h`."""

    wait: Seconds | None = None
    """Longest wait in the queue at a stretch: since it was submitted, resumed, retried, or lost an attempt."""
    run: Seconds | None = None
    """Time on the cluster, all attempts together; pauses and waits don't count."""
    wall: Seconds | None = None
    """Time since its submission, whatever it does meanwhile."""
    accelerator_hours: float | None = Field(default=None, gt=0.0, le=MOST_SECONDS)
    """GPUs times hours on the cluster, all attempts together."""
    no_better_after: int | None = Field(default=None, ge=1, le=MOST_IMAGES)
    """Images after its best score in which none was better, by the metric that `checkpoint.keep_best` goes by; asked at each
    evaluation. Of a search: images over all trials after its best score."""
