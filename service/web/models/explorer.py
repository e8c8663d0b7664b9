"""The explorer's state, which is its URL, and what it asks the model for. `explore.js` asks the same while one plays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import ConfigDict, Field, ValidationError, model_validator

from service.errors import Invalid
from trainer.schema import Frozen
from trainer.serve.questions import Label
from trainer.spec import FieldError

MOST_SEED = (1 << 53) - 1
"""What a script can count to."""
PAD = 32
"""Seeds to choose from."""
ACROSS = 8
"""Of them in a row."""
TURNS = {"Earlier": -PAD, "Later": PAD}
SHOWS = {
    "samples": "Samples",
    "path": "Path",
    "traverse": "Traverse",
    "nearest": "Nearest training images",
    "image": "Own image",
}
"""What is shown, and its title."""
CODE = "code-"
"""Before a code's name, in the URL."""
PRESSED = {"pick": "seed", "turn": "pad"}
"""Buttons, which without a script send their value beside the field that it is for."""
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]


class Asked(Frozen):
    """Everything that can be set; all of it has a default. What a URL says besides is not read."""

    model_config = ConfigDict(extra="ignore")

    of: Annotated[str, Field(pattern=r"^([1-9]\d{0,8}|[A-Za-z][A-Za-z0-9_-]{0,99})?$")] = ""
    """A version or an alias; empty: the champion, or the newest where there is none."""
    show: Literal["samples", "path", "traverse", "nearest", "image"] = "samples"
    seed: Seed = 0
    n: Annotated[int, Field(ge=1, le=256)] = 16
    label: Annotated[str, Field(max_length=200)] = ""
    """A class by number or name; "balanced"; empty: as it is drawn."""
    truncation: Annotated[float, Field(ge=0.01, le=100)] | None = None
    codes: Mapping[str, Annotated[float, Field(ge=-1e6, le=1e6)]] = Field(default_factory=dict, max_length=64)
    """Those that are set: `code-c1=3`."""
    to: Seed = 1
    """Where a path leads."""
    frames: Annotated[int, Field(ge=2, le=120)] = 30
    curve: Literal["", "slerp", "lerp"] = ""
    loop: bool = False
    film: Literal["webp", "mp4", "png"] = "webp"
    along: Annotated[str, Field(max_length=100)] = ""
    """A code's name; empty: the direction of the seed `toward`."""
    toward: Seed = 1
    rows: Annotated[int, Field(ge=1, le=16)] = 6
    steps: Annotated[int, Field(ge=2, le=24)] = 10
    k: Annotated[int, Field(ge=1, le=16)] = 5
    pad: Seed = 0
    """The first seed to choose from."""

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_empty(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        pressed = {PRESSED[name]: value for name, value in given.items() if name in PRESSED}
        return {name: value for name, value in {**given, **pressed}.items() if value != ""}

    @property
    def seeds(self) -> list[int]:
        """To choose from."""
        first = min(self.pad, MOST_SEED - PAD + 1)
        return list(range(first, first + PAD))

    @property
    def pages(self) -> dict[str, int]:
        """Other seeds to choose from, and where they begin."""
        elsewhere = (self.pad * 6364136223846793005 + 1442695040888963407) % 1_000_000
        steps = {title: min(max(0, self.pad + by), MOST_SEED - PAD + 1) for title, by in TURNS.items()}
        return {**steps, "Shuffle": elsewhere}

    def asks(self) -> tuple[str, dict[str, Any]] | None:
        """The question's kind and body; None for what takes a file or a script."""
        truncated = {} if self.truncation is None else {"truncation": self.truncation}
        label = {} if self.label in ("", "balanced") else {"label": self._label}
        match self.show:
            case "samples":
                return "generate", {"n": self.n, "seed": self.seed, **self._labels, **self._codes, **truncated}
            case "path":
                how: dict[str, Any] = {"frames": self.frames, "form": self.film} | ({"loop": True} if self.loop else {})
                how |= {"curve": self.curve} if self.curve else {}
                return "path", {"seeds": [self.seed, self.to], **label, **how, **truncated}
            case "traverse":
                way = {"code": self.along} if self.along else {"toward": self.toward}
                size = {"steps": self.steps, "rows": self.rows}
                return "traverse", {**way, **size, "seed": self.seed, **label, **truncated}
        return None

    def pad_asks(self) -> dict[str, Any]:
        """The body of the question for the pad."""
        truncated = {} if self.truncation is None else {"truncation": self.truncation}
        return {"seeds": self.seeds, **self._labels, **self._codes, **truncated, "columns": ACROSS}

    @property
    def _label(self) -> Label:
        return int(self.label) if self.label.isascii() and self.label.isdecimal() else self.label

    @property
    def _labels(self) -> dict[str, Any]:
        return {} if not self.label else {"labels": self._label}

    @property
    def _codes(self) -> dict[str, Any]:
        return {"codes": dict(self.codes)} if self.codes else {}


def defaults(codes: Iterable[str]) -> dict[str, str]:
    """What a URL need not say, of all fields of the form."""
    every = {
        name: "" if field.default in (None, False) else str(field.default) for name, field in Asked.model_fields.items()
    }
    return {**{name: value for name, value in every.items() if name != "codes"}, **{CODE + name: "" for name in codes}}


def read(query: Mapping[str, str]) -> Asked:
    """Raises Invalid."""
    codes = {name.removeprefix(CODE): value for name, value in query.items() if name.startswith(CODE) and value}
    try:
        return Asked.model_validate({**query, "codes": codes})
    except ValidationError as error:
        wrong = [
            FieldError(path=".".join(map(str, item["loc"])), message=item["msg"], value=str(item["input"])[:100])
            for item in error.errors(include_url=False, include_context=False)
        ]
        raise Invalid(wrong, "question") from error


def url(name: str, version: str, kind: str, body: Mapping[str, Any]) -> str:
    """Where the API answers this by GET."""
    return f"/v1/models/{quote(name)}/{kind}?{urlencode([('version', version), *_flat(body)])}"


def _flat(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in body.items():
        if isinstance(value, Mapping):
            yield from ((name, f"{key}={_said(one)}") for key, one in value.items())
        elif isinstance(value, list):
            yield from ((name, _said(one)) for one in value)
        else:
            yield name, _said(value)


def _said(value: Any) -> str:
    """As JavaScript says it: 3.0 is 3."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
