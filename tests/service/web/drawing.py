"""What answers questions to models in the furnished house: blobs that depend on seed, class, codes and truncation, drawn in no time."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.gateway.ray_serve import Answer
from trainer.images import enlarged, grid
from trainer.serve.wire import Reason, Refusal

SIZE = 16
TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "npz": "application/x-npz",
    "pngs": "application/zip",
}


async def draws(path: str, body: bytes, _headers: Mapping[str, str]) -> Answer:
    """As the models of a replica do."""
    kind, asked = path.rpartition("/")[2], json.loads(body)
    form = asked.get("form", "png")
    if kind == "encode":
        return Answer(200, json.dumps({"z": [[0.0]]}).encode(), {"content-type": "application/json"})
    if asked.get("labels") == 99:
        refusal = Refusal(
            reason=Reason.WRONG, message="no", errors=({"path": "labels", "message": "there is no class 99"},)
        )
        return Answer(422, refusal.model_dump_json().encode(), {"content-type": "application/json"})
    images, columns, moves = _drawn(kind, asked)
    more = {"agon-searched": "1500/1797"} if kind == "neighbours" else {}
    return Answer(200, _file(images, columns, form, moves=moves), {"content-type": TYPES[form], **more})


def _drawn(kind: str, asked: Mapping[str, Any]) -> tuple[NDArray[np.uint8], int, bool]:
    """The images, how many are in a row, and whether they follow each other."""
    label, cut = asked.get("labels", asked.get("label")), asked.get("truncation")
    codes = tuple(float(value) for value in asked.get("codes", {}).values())
    if kind == "path":
        a, b = (_z(seed, 0) for seed in asked["seeds"][:2])
        ways = np.linspace(0, 1, asked["frames"])
        return (
            np.stack([_blob((1 - t) * a + t * b, label, cut) for t in ways]),
            asked["frames"],
            asked["form"] in ("webp", "gif"),
        )
    if kind == "traverse":
        far, steps, rows = _z(asked["toward"] or 0, 0) / 2, asked["steps"] or 10, asked["rows"]
        z = [_z(asked["seed"], row) + t * far for row in range(rows) for t in np.linspace(-2, 2, steps)]
        return np.stack([_blob(one, label, cut) for one in z]), steps, False
    if kind == "neighbours":
        z = [_z(asked["seed"], number) * (1 + k / 9) for number in range(asked["n"]) for k in range(asked["k"] + 1)]
        return np.stack([_blob(one, label, cut) for one in z]), asked["k"] + 1, False
    if kind == "reconstruct":
        return (
            np.stack([_blob(_z(number, 0), label, cut) for number in range(2 * len(asked["images"]))]),
            len(asked["images"]),
            False,
        )
    z = [_z(seed, 0) for seed in asked["seeds"]] or [_z(asked["seed"], number) for number in range(asked["n"] or 1)]
    return np.stack([_blob(one, label, cut, codes) for one in z]), asked["columns"] or round(len(z) ** 0.5), False


def _z(seed: int, number: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, number]).normal(size=6)


def _blob(z: NDArray[np.float64], label: Any, cut: float | None, codes: tuple[float, ...] = ()) -> NDArray[np.uint8]:
    z = z if cut is None else np.clip(z, -cut, cut)
    across = np.arange(SIZE) - SIZE / 2
    turned = len(str(label)) + sum(codes) + (0 if label in (None, "balanced") else sum(map(ord, str(label))) / 9)
    picture = np.zeros((SIZE, SIZE))
    for x, y in ((z[0], z[1]), (z[2], z[3])):
        x, y = x * np.cos(turned) - y * np.sin(turned), x * np.sin(turned) + y * np.cos(turned)
        picture += 200 * np.exp(
            -((across[None] - 2.5 * x) ** 2 + (across[:, None] - 2.5 * y) ** 2) / (4 + 3 * abs(z[4]))
        )
    return np.clip(picture, 0, 255).astype(np.uint8)[..., None]


def _file(images: NDArray[np.uint8], columns: int, form: str, *, moves: bool) -> bytes:
    out = io.BytesIO()
    if form in ("npz", "pngs"):
        np.savez(out, images=images)
    elif moves:
        first, *others = [Image.fromarray(frame[..., 0]).convert("RGB") for frame in enlarged(images)]
        first.save(out, form.upper(), save_all=True, append_images=others, duration=66, loop=0)
    else:
        Image.fromarray(grid(images, max(1, columns))[..., 0]).save(out, form.upper())
    return out.getvalue()
