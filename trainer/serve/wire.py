"""What crosses between the control plane and the models that Ray Serve keeps. Torch-free; both sides import it.

One POST a question: `/generate`, `/path`, `/traverse`, `/encode`, `/reconstruct`, `/neighbours`, with the question as its JSON
body. The headers say which model (MODEL_HEADER, by which Serve finds a replica that has it) and bring the application's own
token. The answer is the picture, the archive or the JSON that was asked for, or a `Refusal`.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, model_validator

from trainer.plan.devices import Device
from trainer.schema import Frozen
from trainer.spec import JobSpec
from trainer.spec.errors import FieldError

MODELS, PLANS = "models", "plans"
"""The applications' names, and where Serve's proxy has them: `/models`, `/plans`."""
MODEL_HEADER = "serve_multiplexed_model_id"
"""As Ray Serve reads it: see `ModelId`."""
TOKEN_HEADER = "authorization"  # noqa: S105 — a header's name
VERSION_HEADER = "agon-model"
"""Of an answer: `NAME/VERSION`, which the alias meant when it was asked."""
SEARCHED_HEADER = "agon-searched"
"""Of an answer of neighbours: `N/M`, how many of how many training images were looked at."""
MOST_BODY = 16 << 20
"""Bytes of a question."""
FORMAT = 1
"""Of the answers' bytes: one more as soon as the same question to the same model has other ones."""
MOST_ANSWERED = 1024
"""Images of one answer, or frames of a path."""
MOST_PIXELS = 1 << 26
"""Pixel values of one answer: images × height × width × channels."""
MOST_STOPS = 32
MOST_UPLOADED = 64
MOST_SEED = (1 << 63) - 1


class ModelId(NamedTuple):
    """A version of a registered model, and what tells it from another one that had its name and number before."""

    name: str
    version: str
    mark: str
    """Of when it was made and where it lies; whoever registers anew gets another."""

    def __str__(self) -> str:
        return f"{self.name}/{self.version}/{self.mark}"

    @property
    def release(self) -> str:
        """`NAME/VERSION`, as MLflow's registry and an answer's header say it."""
        return f"{self.name}/{self.version}"

    @classmethod
    def parse(cls, text: str) -> ModelId:
        """Raises ValueError for what is none."""
        if found := _MODEL.fullmatch(text):
            return cls(*found.groups())
        raise ValueError(f"{text[:200]!r} is no NAME/VERSION/MARK")


_MODEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})/([1-9]\d{0,9})/([0-9a-f]{1,64})")


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
    labels: Label | Annotated[tuple[Label, ...], Field(max_length=MOST_ANSWERED)] | None = None
    """A class by number or name for all images, one for each, or "balanced". null: drawn."""
    codes: Annotated[
        dict[str, Number | Annotated[tuple[Number, ...], Field(min_length=1, max_length=MOST_ANSWERED)]],
        Field(default_factory=dict, max_length=64),
    ]
    """Latent codes that are set instead of drawn: one value for all images, or one for each."""
    form: Still = Form.PNG
    """How they come."""
    columns: Annotated[int | None, Field(ge=1, le=MOST_ANSWERED)] = None
    """Images in a row of a grid. null: about as many as rows."""


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
        if (self.code is None) == (not self.direction):
            raise ValueError("give code or direction, one of both")
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


class Reason(StrEnum):
    """Why there is no answer; the status of the replica's answer goes by it."""

    WRONG = "wrong"  # 422: the question doesn't fit the model; `errors`
    MISSING = "missing"  # 404: no such version, or none that is a model of ours
    FULL = "full"  # 429: too much is waiting already
    AWAY = "away"  # 503: the registry, or the data, does not answer
    LATE = "late"  # 504: it took longer than it may
    STRANGER = "stranger"  # 401: the token is not the application's
    BROKEN = "broken"  # 500: a bug of ours, or a damaged package

    @property
    def status(self) -> int:
        """Of the HTTP answer."""
        return _STATUS[self]


_STATUS = {
    Reason.WRONG: 422,
    Reason.MISSING: 404,
    Reason.FULL: 429,
    Reason.AWAY: 503,
    Reason.LATE: 504,
    Reason.STRANGER: 401,
    Reason.BROKEN: 500,
}


class Refusal(Frozen):
    """The body of an answer that is none."""

    reason: Reason
    message: str
    errors: tuple[FieldError, ...] = ()
    retry_after: float | None = None
    """Seconds after which asking again makes sense."""


class ServeArguments(Frozen):
    """What the applications are built with: `args` of their declaration, which whoever may ask Ray can read."""

    token_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the token that a question must bring."""
    mlflow_uri: str | None = None
    """Where models come from."""
    cpus: float = Field(default=1.0, ge=0.0, le=1024.0)
    """CPUs that a replica takes, and threads it computes with."""
    gpus: float = Field(default=0.0, ge=0.0, le=64.0)
    """GPUs that a replica takes; a model then runs on `cuda`."""
    replicas: int = Field(default=1, ge=1, le=1000)
    """At most."""
    memory: int = Field(default=2 << 30, ge=1 << 20)
    """Bytes of weights that a replica keeps; the least recently used models go."""
    idle_seconds: float = Field(default=300.0, ge=1.0, le=1e6)
    """Without questions a replica ends after so long."""
    seconds: float = Field(default=60.0, gt=0.0, le=3600.0)
    """Limit of one answer, once its model is loaded."""
    waiting: int = Field(default=64, ge=1, le=10_000)
    """Questions that one replica takes at a time; more are refused."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What nets compute in."""
    data_roots: tuple[str, ...] = ()
    """Folders that training images may be read from, for neighbours."""
    private_hosts: tuple[str, ...] = ()
    """Hosts off the public internet that they may be read from."""
