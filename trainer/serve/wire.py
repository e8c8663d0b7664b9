"""What crosses between the control plane and the models that Ray Serve keeps. Torch-free; both sides import it.

One POST a question: `/generate`, `/path`, `/traverse`, `/encode`, `/reconstruct`, `/neighbours`, with the question as its JSON
body (`questions`). The headers say which model (MODEL_HEADER, by which Serve finds a replica that has it) and bring the application's own
token. The answer is the picture, the archive or the JSON that was asked for, or a `Refusal`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import Field

from trainer.schema import Frozen
from trainer.spec.errors import FieldError

MODELS, PLANS = "models", "plans"
"""The applications' names, and where Serve's proxy has them: `/models`, `/plans`."""
MODEL_HEADER = "serve_multiplexed_model_id"
"""As Ray Serve reads it: see `ModelId`."""
TOKEN_HEADER = "authorization"  # noqa: S105 — a header's name
QUESTION_HEADER, SHORT = "agon-question", 4096
"""A question of no more bytes comes here, in ASCII, and there is no body: a replica asks Serve's proxy for that by a call of its own, which
takes longer than all else on the way."""
VERSION_HEADER = "agon-model"
"""Of an answer: `NAME/VERSION`, which the alias meant when it was asked."""
SEARCHED_HEADER = "agon-searched"
"""Of an answer of neighbours: `N/M`, how many of how many training images were looked at."""
MOST_BODY = 16 << 20
"""Bytes of a question."""
FORMAT = 1
"""Of the answers' bytes: one more as soon as the same question to the same model has other ones."""


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
    seconds: float = Field(default=60.0, gt=0.0)
    """Limit of one answer, once its model is loaded."""
    waiting: int = Field(default=64, ge=1, le=10_000)
    """Questions that one replica takes at a time; more are refused."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What nets compute in."""
    data_roots: tuple[str, ...] = ()
    """Folders that training images may be read from, for neighbours."""
    private_hosts: tuple[str, ...] = ()
    """Hosts off the public internet that they may be read from."""
