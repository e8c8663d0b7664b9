"""Calls that ask a published model: its pictures, latents and neighbours, made on the cluster."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from service.bodies.serving import Serving
from service.client.base import Calls, part
from trainer.serve.wire import VERSION_HEADER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ANSWER_SECONDS = 150.0
"""For one answer: its models may have to be started first, and loaded."""
START_SECONDS = 120.0
"""For how long a question is asked again while they start, or are full."""
Labels = int | str | Sequence[int | str]
Image = bytes | str | Path
"""An image's file, or where it lies."""
_NAME = re.compile(r"(?:models:/)?(?P<model>[^@/]+)(?:@(?P<alias>[^@/]+)|/(?P<version>[^@/]+))?")


@dataclass(frozen=True)
class Answer:
    """What a model answered."""

    content: bytes
    media_type: str
    model: str
    """`NAME/VERSION`: which version answered; an alias may mean another one tomorrow."""

    def save(self, path: Path | str) -> Path:
        """Write it to a file, whole or not at all."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        aside.write_bytes(self.content)
        aside.replace(target)
        return target

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Of an answer with form="npz": images uint8 [n, H, W, C], z float32 [n, Z], and labels int64 [n] where there are any.

        Raises ValueError for another.
        """
        import numpy as np

        if self.media_type != "application/x-npz":
            raise ValueError(f"the answer is {self.media_type}; ask with form='npz' for arrays")
        with np.load(io.BytesIO(self.content), allow_pickle=False) as found:
            return dict(found)


class ServingCalls(Calls):
    """Part of `Client`. A `model` is NAME (its champion), NAME@alias or NAME/version.

    Where no model is kept ready on the cluster, one is started, and the call waits for it. Same question, same version, same bytes.
    """

    def generate(
        self,
        model: str,
        n: int | None = None,
        *,
        seed: int = 0,
        start: int = 0,
        seeds: Sequence[int] = (),
        labels: Labels | None = None,
        codes: Mapping[str, float | Sequence[float]] | None = None,
        truncation: float | None = None,
        form: Literal["png", "webp", "pngs", "npz"] = "png",
        columns: int | None = None,
    ) -> Answer:
        """Images `start` … `start + n - 1` of a seed, or the first of each of `seeds`, as a grid (png, webp), a zip of PNGs or arrays."""
        which = {"n": n, "seed": seed, "start": start, "seeds": list(seeds) or None}
        asked = {**which, "labels": labels, "codes": dict(codes or {}) or None}
        return self._ask(model, "generate", {**asked, "truncation": truncation, "form": form, "columns": columns})

    def path(
        self,
        model: str,
        seeds: Sequence[int] = (),
        *,
        images: Sequence[Image] = (),
        label: int | str | None = None,
        truncation: float | None = None,
        curve: Literal["slerp", "lerp"] | None = None,
        frames: int = 30,
        loop: bool = False,
        fps: int = 15,
        form: Literal["webp", "gif", "mp4", "png", "pngs", "npz"] = "webp",
        columns: int | None = None,
    ) -> Answer:
        """Frames along the latents from one seed, or image, to the next: a moving picture, or each frame."""
        stops = {"seeds": list(seeds) or None, "images": _files(images) or None, "label": label}
        how = {"truncation": truncation, "curve": curve, "frames": frames, "loop": loop}
        return self._ask(model, "path", {**stops, **how, "fps": fps, "form": form, "columns": columns})

    def traverse(
        self,
        model: str,
        code: str | None = None,
        *,
        direction: Sequence[float] = (),
        toward: int | None = None,
        low: float | None = None,
        high: float | None = None,
        steps: int | None = None,
        rows: int = 8,
        seed: int = 0,
        label: int | str | None = None,
        truncation: float | None = None,
        form: Literal["png", "webp", "gif", "mp4", "pngs", "npz"] = "png",
        fps: int = 10,
    ) -> Answer:
        """One latent code, or one direction of the latents, given or that of a seed, along each row; each row another noise."""
        along = {"code": code, "direction": list(direction) or None, "toward": toward}
        axis = {**along, "low": low, "high": high, "steps": steps}
        drawn = {"rows": rows, "seed": seed, "label": label, "truncation": truncation}
        return self._ask(model, "traverse", {**axis, **drawn, "form": form, "fps": fps})

    def encode(self, model: str, images: Sequence[Image], *, form: Literal["json", "npz"] = "npz") -> Answer:
        """z = E(x) of images, of a model with an encoder: `arrays()["z"]`, float32 [n, Z]."""
        return self._ask(model, "encode", {"images": _files(images), "form": form})

    def reconstruct(
        self,
        model: str,
        images: Sequence[Image],
        *,
        label: int | str | None = None,
        form: Literal["png", "webp", "pngs", "npz"] = "png",
    ) -> Answer:
        """G(E(x)) of images; as a picture, each row of images above the row of their reconstructions."""
        return self._ask(model, "reconstruct", {"images": _files(images), "label": label, "form": form})

    def neighbours(
        self,
        model: str,
        n: int = 8,
        *,
        seed: int = 0,
        labels: Labels | None = None,
        images: Sequence[Image] = (),
        truncation: float | None = None,
        k: int = 5,
        form: Literal["png", "webp", "json"] = "png",
    ) -> Answer:
        """The k training images that are nearest to samples, or to given images: whether a model has learnt by heart."""
        asked = {"n": n, "seed": seed, "labels": labels, "images": _files(images) or None}
        return self._ask(model, "neighbours", {**asked, "truncation": truncation, "k": k, "form": form})

    def serving(self) -> Serving:
        """What is kept ready on the cluster to answer, what it holds of it, and why not, if it doesn't run."""
        return self._read(Serving, "GET", "/v1/serve")

    def stop_serving(self) -> Serving:
        """End it now; the next question starts it anew."""
        return self._read(Serving, "DELETE", "/v1/serve")

    def _ask(self, model: str, what: str, question: Mapping[str, Any]) -> Answer:
        found = _NAME.fullmatch(model)
        if found is None:
            raise ValueError(f"{model!r} is no model; write NAME, NAME@alias or NAME/version")
        which = {name: found[name] for name in ("alias", "version") if found[name]}
        body = {name: value for name, value in question.items() if value is not None}
        path = f"/v1/models/{part(found['model'])}/{what}"
        response = self._connection.call(
            "POST", path, params=which, body=body, timeout=ANSWER_SECONDS, patience=START_SECONDS
        )
        media_type = response.headers.get("content-type", "").partition(";")[0]
        return Answer(response.content, media_type, response.headers.get(VERSION_HEADER, ""))


def _files(images: Sequence[Image]) -> list[str]:
    """In base64. Raises OSError for a file that can't be read."""
    contents = (image if isinstance(image, bytes) else Path(image).read_bytes() for image in images)
    return [base64.b64encode(content).decode() for content in contents]
