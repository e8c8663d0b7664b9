"""A desk as a replica has it, and questions put to it without HTTP."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from starlette.requests import Request

from trainer.publish.portable.generator import Generator
from trainer.serve.desk import Desk
from trainer.serve.loading import weights
from trainer.serve.wire import MODEL_HEADER, TOKEN_HEADER, ModelId, Refusal, ServeArguments
from trainer.serve.work import Model, measured

TOKEN = "a token"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()


class Said(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def refusal(self) -> Refusal:
        return Refusal.model_validate_json(self.body)

    @property
    def fields(self) -> list[str]:
        return [error.path for error in self.refusal.errors]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return dict(np.load(io.BytesIO(self.body)))

    @property
    def picture(self) -> Image.Image:
        return Image.open(io.BytesIO(self.body))


def arguments(**changes: Any) -> ServeArguments:
    return ServeArguments(token_digest=DIGEST, **changes)


def id_of(name: str, version: int = 1) -> ModelId:
    return ModelId(name, str(version), "0a")


def model_of(published: Any, name: str = "m", **changes: Any) -> Model:
    generator = Generator(published.folder)
    found = measured(
        id_of(name), generator, weights(published.folder), published.spec, published.lineage.dataset_digest
    )
    return Model(**{**{key: getattr(found, key) for key in found.__dataclass_fields__}, **changes})


class Replica:
    """What `Models` is around a desk, without Ray: all models are there."""

    def __init__(self, *models: Model, **changes: Any) -> None:
        self.models = OrderedDict((str(model.id), model) for model in models)
        self.desk = Desk(arguments(**changes), self._load, self._room)
        self.rooms = 0

    async def _load(self, name: str) -> Model:
        return self.models[name]

    async def _room(self) -> None:
        self.rooms += 1

    async def ask(self, what: str, question: Any, model: str = "m", **options: Any) -> Said:
        return await put(self.desk, f"/models/{what}", question, {MODEL_HEADER: str(id_of(model))}, **options)

    def asked(self, what: str, question: Any, model: str = "m", **options: Any) -> Said:
        return asyncio.run(self.ask(what, question, model, **options))


async def put(
    answer: Any,
    path: str,
    question: Any,
    headers: dict[str, str],
    *,
    token: str = f"Bearer {TOKEN}",
    method: str = "POST",
) -> Said:
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    parts = [body[at : at + 65536] for at in range(0, len(body), 65536)] or [b""]
    sent = iter(parts)

    async def receive() -> dict[str, Any]:
        part = next(sent, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    all_headers = {TOKEN_HEADER: token, **headers}
    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"", "scheme": "http", "server": ("s", 80),
        "headers": [(name.lower().encode(), value.encode()) for name, value in all_headers.items()],
    }  # fmt: skip
    response = await answer(Request(scope, receive))
    return Said(response.status_code, dict(response.headers), bytes(response.body))


def file_of(image: np.ndarray, form: str = "PNG", **options: Any) -> str:
    """An image's file, in base64."""
    out = io.BytesIO()
    Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image).save(out, form, **options)
    return base64.b64encode(out.getvalue()).decode()


def near(found: np.ndarray, expected: np.ndarray) -> None:
    """The same but for the rounding of one level: batches of other sizes are summed in another order."""
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


def named(model: Model, name: str) -> Model:
    """The same model by another name."""
    return Model(id_of(name), model.generator, model.size, model.chunks, model.encoder_chunk, model.spec, model.digest)
