"""What models, and what makes plans, can be asked: the bodies of questions. Torch-free; control plane and replicas import it."""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints, model_validator

from trainer.plan.devices import Device
from trainer.schema import Frozen
from trainer.spec import JobSpec

MOST_ANSWERED = 1024
"""Images of one answer, or frames of a path."""
MOST_PIXELS = 1 << 26
"""Pixel values of one answer: images × height × width × channels."""
MOST_STOPS = 32
MOST_UPLOADED = 64
MOST_SEED = (1 << 63) - 1


def _decoded(value: object) -> object:
    """Base64 (RFC 4648, section 4) as its bytes."""
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is no base64 of an image's file") from None


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _by_name(codes: dict[str, Number | tuple[Number, ...]]) -> dict[str, Number | tuple[Number, ...]]:
    """In one order: the same question is the same text."""
    return dict(sorted(codes.items()))


Label = Annotated[str, StringConstraints(min_length=1, max_length=200)] | Annotated[int, Field(ge=0, lt=1 << 31)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Upload = Annotated[
    bytes, BeforeValidator(_decoded), Field(min_length=1), PlainSerializer(_encoded, return_type=str, when_used="json")
]
"""An image's file (PNG, JPEG, WebP, …), in base64."""
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]


class Form(StrEnum):
    """How an answer of images comes."""

    PNG = "png"  # one picture: a grid
    WEBP = "webp"  # the same, lossless; of a path: animated
    PNGS = "pngs"  # a zip with each image as a PNG of the model's own size
    NPZ = "npz"  # arrays: images uint8 [n, H, W, C], z float32 [n, Z], labels int64 [n] where there are any
    GIF = "gif"  # animated
    MP4 = "mp4"  # a film, where the replica has an encoder for it

    @property
    def media_type(self) -> str:
        """For `Content-Type`."""
        return _TYPES[self]


_TYPES = {
    Form.PNG: "image/png",
    Form.WEBP: "image/webp",
    Form.PNGS: "application/zip",
    Form.NPZ: "application/x-npz",
    Form.GIF: "image/gif",
    Form.MP4: "video/mp4",
}
Still = Literal[Form.PNG, Form.WEBP, Form.PNGS, Form.NPZ]


class Question(Frozen):
    """What all questions have in common."""

    truncation: Annotated[float | None, Field(ge=0.01, le=100.0)] = None
    """Coordinates of z outside ±truncation are drawn again (Brock et al. 2018); models with a normal prior. null: none."""


class Generate(Question):
    """Samples: image i is that of (seed, start + i)."""

    n: Annotated[int | None, Field(ge=1, le=MOST_ANSWERED)] = None
    """How many. null: as many as there are labels or values of a code, or 1."""
    seed: Seed = 0
    """Same seed, same images."""
    start: Annotated[int, Field(ge=0, le=1 << 40)] = 0
    """Number of the first image."""
    seeds: Annotated[tuple[Seed, ...], Field(max_length=MOST_ANSWERED)] = ()
    """Instead of `n`, `seed` and `start`: image 0 of each of these seeds."""
    labels: Label | Annotated[tuple[Label, ...], Field(max_length=MOST_ANSWERED)] | None = None
    """A class by number or name for all images, one for each, or "balanced". null: drawn."""
    codes: Annotated[
        dict[str, Number | Annotated[tuple[Number, ...], Field(min_length=1, max_length=MOST_ANSWERED)]],
        Field(default_factory=dict, max_length=64),
        AfterValidator(_by_name),
    ]
    """Latent codes that are set instead of drawn: one value for all images, or one for each."""
    form: Still = Form.PNG
    """How they come."""
    columns: Annotated[int | None, Field(ge=1, le=MOST_ANSWERED)] = None
    """Images in a row of a grid. null: about as many as rows."""

    @model_validator(mode="after")
    def _numbered_once(self) -> Generate:
        if self.seeds and (self.n is not None or self.seed or self.start):
            raise ValueError("seeds says which images; leave n, seed and start out")
        return self


class Stops(Question):
    """Latents to go through: of seeds, or of images that are encoded."""

    seeds: Annotated[tuple[Seed, ...], Field(max_length=MOST_STOPS)] = ()
    """z of image 0 of each seed."""
    images: Annotated[tuple[Upload, ...], Field(max_length=MOST_STOPS)] = ()
    """Or z of each of these images, of a model with an encoder."""


class Path(Stops):
    """Frames along the latents from one stop to the next."""

    label: Label | None = None
    """The class of all frames, by number or name. null: the first stop's, as it is drawn for its seed; class 0 of encoded images."""
    curve: Literal["slerp", "lerp"] | None = None
    """Along the great circle (White 2016), or straight. null: slerp where the prior is normal, else lerp."""
    frames: Annotated[int, Field(ge=2, le=MOST_ANSWERED)] = 30
    """From one stop to the next, both counted."""
    loop: bool = False
    """Whether it goes back to the first stop."""
    fps: Annotated[int, Field(ge=1, le=50)] = 15
    """Frames a second, of what moves."""
    form: Form = Form.WEBP
    """How they come; png: all frames in one picture."""
    columns: Annotated[int | None, Field(ge=1, le=MOST_ANSWERED)] = None
    """Frames in a row of a picture. null: those of one leg."""

    @model_validator(mode="after")
    def _has_two_stops(self) -> Path:
        if bool(self.seeds) == bool(self.images):
            raise ValueError("give seeds or images, one of both")
        stops = len(self.seeds) + len(self.images)
        if stops < 2:
            raise ValueError("a path has two stops or more")
        if (stops if self.loop else stops - 1) * self.frames > MOST_ANSWERED:
            raise ValueError(f"the path has more than {MOST_ANSWERED} frames; ask for fewer frames or stops")
        return self


class Traverse(Question):
    """One latent code, or one direction of the latents, varied along each row; each row another noise."""

    code: Annotated[str | None, StringConstraints(min_length=1, max_length=100)] = None
    """Name of the code: `c1`."""
    direction: Annotated[tuple[Number, ...], Field(max_length=1 << 16)] = ()
    """Or a vector of Z numbers; z + t · direction / |direction|."""
    toward: Seed | None = None
    """Or the noise of image 0 of that seed as the direction: with a normal prior, any."""
    low: Number | None = None
    """Of t, or of the code's values. null: −2 (Chen et al. 2016, Figure 2); of a categorical code its first value."""
    high: Number | None = None
    """null: 2; of a categorical code its last value."""
    steps: Annotated[int | None, Field(ge=2, le=256)] = None
    """Values in a row. null: 10; of a categorical code all."""
    rows: Annotated[int, Field(ge=1, le=MOST_ANSWERED)] = 8
    """Different noises: those of images 0 … rows − 1 of the seed."""
    seed: Seed = 0
    """Same seed, same images."""
    label: Label | None = None
    """The class of all images, by number or name. null: drawn for each row."""
    form: Form = Form.PNG
    """How they come; gif, webp and mp4 show one value after another, all rows beside each other."""
    fps: Annotated[int, Field(ge=1, le=50)] = 10
    """Frames a second, of what moves."""

    @model_validator(mode="after")
    def _has_one_axis(self) -> Traverse:
        if sum((self.code is not None, bool(self.direction), self.toward is not None)) != 1:
            raise ValueError("give code, direction or toward, one of them")
        if self.direction and not any(self.direction):
            raise ValueError("direction is all zeros")
        if (self.steps or 10) * self.rows > MOST_ANSWERED:
            raise ValueError(f"steps × rows is more than {MOST_ANSWERED}; ask for fewer")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("low must be below high")
        return self


class Given(Frozen):
    """Images to look at: they are fitted to the model's size as the packer does it."""

    images: Annotated[tuple[Upload, ...], Field(min_length=1, max_length=MOST_UPLOADED)]
    """Files of images in base64."""


class Encode(Given):
    """z = E(x) of each image."""

    form: Literal["json", "npz"] = "json"
    """`{"z": [[…], …]}`, or an archive with z float32 [n, Z]."""


class Reconstruct(Given):
    """G(E(x)) of each image."""

    label: Label | None = None
    """The class to reconstruct with, of a class-conditional model."""
    form: Still = Form.PNG
    """png, webp: each row of images above the row of their reconstructions."""


class Neighbours(Question):
    """The nearest training images, by Euclidean distance of pixels, to samples or to given images."""

    n: Annotated[int, Field(ge=1, le=MOST_UPLOADED)] = 8
    """How many samples to look for."""
    seed: Seed = 0
    """The samples are images 0 … n − 1 of this seed."""
    labels: Label | Annotated[tuple[Label, ...], Field(max_length=MOST_UPLOADED)] | None = None
    """As for samples."""
    images: Annotated[tuple[Upload, ...], Field(max_length=MOST_UPLOADED)] = ()
    """Instead of samples: files of images in base64."""
    k: Annotated[int, Field(ge=1, le=32)] = 5
    """Neighbours of each, the nearest first."""
    form: Literal["png", "webp", "json"] = "png"
    """A row a query: itself, then its neighbours; or their numbers in the data, distances and labels."""


QUESTIONS: dict[str, type[Frozen]] = {
    "generate": Generate,
    "path": Path,
    "traverse": Traverse,
    "encode": Encode,
    "reconstruct": Reconstruct,
    "neighbours": Neighbours,
}


class PlanQuestion(Frozen):
    """`POST /plans`, answered with `trainer.plan.result.Plan` as JSON, or a refusal: WRONG with `errors` of a spec that can't run so."""

    spec: JobSpec
    world: Annotated[int, Field(ge=1, le=1 << 20)]
    """Workers."""
    device: Device
    """What each computes on."""
