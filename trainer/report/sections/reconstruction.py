"""What an encoder keeps of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.report.errors import LeftOut
from trainer.report.page import Block, Row, Sheet, Text
from trainer.report.pictures import strip
from trainer.report.subject import Images, Model, Subject

COLUMNS, ROWS = 10, 3
MEASURED = 1000


def reconstructions(subject: Subject) -> Sequence[Block]:
    """Rows of images above what becomes of them, and the error over many."""
    if not subject.arch.encoder:
        raise LeftOut(f"family {subject.arch.family} has no encoder")
    model, data = subject.images_to_look_at, subject.held_out or subject.data
    total = data.manifest.samples
    order = np.random.default_rng(0).permutation(total)[: min(total, MEASURED)]
    images, _ = data.images(np.sort(order))
    real = images.permute(0, 2, 3, 1).contiguous().numpy()
    try:
        again = reconstructed(model, real)
    except ValueError as error:
        raise LeftOut(f"the encoder was not published with the generator ({error})") from error
    shown = min(len(real), COLUMNS * ROWS)
    chosen = np.linspace(0, len(real) - 1, shown).astype(np.int64)
    rows = []
    for first in range(0, shown, COLUMNS):
        part = chosen[first : first + COLUMNS]
        rows += [
            Row("x", strip(real[part], "real images")),
            Row("G(E(x))", strip(again[part], "their reconstructions")),
        ]
    lost, all_lost = squared(real, again), squared(real, real.mean(axis=0, keepdims=True))
    kind = f"held-out images ({data.manifest.name})" if subject.held_out else "training images"
    text = (
        f"Over {len(real):,} {kind} the mean squared difference of a pixel is {lost:.4f} (pixels in [0, 1]; root {np.sqrt(lost):.3f}). "
        + _held(lost, all_lost)
    )
    note = "" if subject.held_out else " They were trained on; give held-out data for a fairer figure."
    return [Text(text + note), Sheet(rows)]


def _held(lost: float, all_lost: float) -> str:
    """What the code holds, beside an answer that takes no code; identical images have nothing for it to hold."""
    if all_lost == 0.0:
        return "These images are all the same, so there is nothing between them for the code to hold."
    return (
        f"Answering every image with the mean image would give {all_lost:.4f}, so the code holds "
        f"{max(0.0, 1.0 - lost / all_lost):.0%} of what differs between images."
    )


def reconstructed(model: Model, images: Images, chunk: int = 256) -> Images:
    """G(E(x)) of uint8 [n, H, W, C]. Raises ValueError without an encoder."""
    parts = [images[first : first + chunk] for first in range(0, len(images), chunk)]
    return np.concatenate([model.decode(model.encode(part)) for part in parts])


def squared(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared difference, pixels in [0, 1]."""
    return float(np.mean(((a.astype(np.float64) - b) / 255.0) ** 2))
