"""Samples, and what the dataset's own classifier reads in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.errors import TrainingError
from trainer.report import charts
from trainer.report.classes import reader
from trainer.report.errors import LeftOut
from trainer.report.page import Block, Charts, Row, Sheet, Text
from trainer.report.pictures import sheet, strip
from trainer.report.subject import Images, Subject

SEED = 0
COLUMNS = 10
MOST_CLASSES = 20
"""More classes than this are sampled evenly: a page is to be looked at."""
LOOKED_AT, READ_AT_ONCE = 1000, 100
"""Real images that are read to find some of each class."""


def samples(subject: Subject) -> Sequence[Block]:
    """A row for each class, beside it real images of it; or 100 images beside 100 real ones where there are no labels."""
    model, arch = subject.images_to_look_at, subject.arch
    if not arch.conditional:
        images = model.sample(n=COLUMNS * COLUMNS, seed=SEED)
        picture = sheet(images, COLUMNS, f"{len(images)} generated images")
        return _beside(subject, [Row("", picture)], f"Seed {SEED}.", None)
    shown = some(arch.classes, MOST_CLASSES)
    images = model.sample(labels=np.repeat(shown, COLUMNS).tolist(), seed=SEED)
    rows = [
        Row(subject.class_name(label), strip(part, f"{COLUMNS} generated images of class {subject.class_name(label)}"))
        for label, part in zip(shown, np.split(images, len(shown)), strict=True)
    ]
    of = "" if len(shown) == arch.classes else f" {len(shown)} of {arch.classes} classes."
    return _beside(subject, rows, f"Seed {SEED}, each image from its own latent.{of}", shown)


def _beside(subject: Subject, generated: list[Row], caption: str, shown: Sequence[int] | None) -> Sequence[Block]:
    """Generated images, and real ones where the training data is at hand."""
    try:
        rows = _real(subject, shown)
    except (LeftOut, TrainingError, OSError) as reason:  # what was generated is shown whatever became of the data
        return [Sheet(generated, caption=f"{caption} No real images beside them: {reason}.")]
    among = "drawn at random from the training data" + ("" if shown is None else ", by their labels")
    return [
        Sheet(generated, caption=f"Generated. {caption}", half=True),
        Sheet(rows, caption=f"Real images, {among}.", half=True),
    ]


def _real(subject: Subject, shown: Sequence[int] | None) -> list[Row]:
    """Real images in the form of the generated ones; of a rare class as many as there are among those looked at.

    Raises LeftOut without data.
    """
    data = subject.data
    among = np.random.default_rng(SEED).permutation(data.manifest.samples)[:LOOKED_AT]
    if shown is None:
        some_of = among[: COLUMNS * COLUMNS]
        pixels = data.images(some_of)[0].permute(0, 2, 3, 1).numpy()
        return [Row("", sheet(pixels, COLUMNS, f"{len(pixels)} real images"))]
    found: dict[int, list[Images]] = {label: [] for label in shown}
    for first in range(0, len(among), READ_AT_ONCE):
        images, labels = data.images(among[first : first + READ_AT_ONCE])
        for pixels, label in zip(images.permute(0, 2, 3, 1).numpy(), labels.tolist(), strict=True):
            if len(found.get(label, [None] * COLUMNS)) < COLUMNS:
                found[label].append(pixels)
        if all(len(images) == COLUMNS for images in found.values()):
            break
    blank = np.zeros((0, *data.images(among[:1])[0].permute(0, 2, 3, 1).shape[1:]), np.uint8)
    return [_row_of(subject, label, np.stack(images) if images else blank) for label, images in found.items()]


def _row_of(subject: Subject, label: int, images: Images) -> Row:
    name = subject.class_name(label)
    note = "" if len(images) else f"none among {LOOKED_AT:,} images that were looked at"
    return Row(name, strip(images, f"{len(images)} real images of class {name}", cells=COLUMNS), note)


def classes(subject: Subject) -> Sequence[Block]:
    """How often each class appears; for a conditional model, how often it is the one that was asked for."""
    model, arch = subject.images_to_look_at, subject.arch
    read, known = reader(subject)
    count = min(2000, subject.affordable(share=0.2))
    shown = some(known, min(40, count))
    names = [subject.class_name(label) for label in shown]
    if not arch.conditional:
        found, _ = read(model.sample(n=count, seed=SEED))
        shares = np.bincount(found, minlength=known)[shown] / count
        real = np.asarray(subject.data.manifest.class_counts, np.float64)[shown] / subject.data.manifest.samples
        groups = [("generated", shares.tolist()), ("training data", real.tolist())]
        absent = [name for name, share in zip(names, shares, strict=True) if share == 0.0]
        said = f"Not one image of: {', '.join(absent)}." if absent else "Every class appears."
        chart = charts.bars("Share of the images that are read as each class", names, groups, y="share")
        return [Charts([chart], caption=f"{count:,} generated images. {said}")]
    if known != arch.classes:
        raise LeftOut(f"the classifier knows {known} classes and the model {arch.classes}")
    labels = np.arange(known) if count >= known else np.asarray(shown)  # else some would not be asked for once
    asked = labels[np.arange(count) % len(labels)]
    found, _ = read(model.sample(labels=asked.tolist(), seed=SEED))
    agrees = np.array([(found[asked == label] == label).mean() for label in shown])
    chart = charts.bars(
        "Share of images read as the class asked for", names, [("agreement", agrees.tolist())], y="share"
    )
    worst = int(np.argmin(agrees))
    of = "" if len(labels) == known else f" of {len(labels)} of {known:,} classes"
    text = (
        f"Of {count:,} generated images{of} the classifier reads {(found == asked).mean():.1%} as the class that was asked "
        f"for; least of class {names[worst]}: {agrees[worst]:.1%}. {_own_errors(subject)}"
    )
    return [Text(text), Charts([chart])]


def _own_errors(subject: Subject) -> str:
    """How well the classifier does on the data that it learned from, which bounds what its word is worth."""
    read, _ = reader(subject)
    total = subject.data.manifest.samples
    rows = np.unique(np.linspace(0, total - 1, min(total, 1000)).astype(np.int64))
    images, labels = subject.data.images(rows)
    right = (read(images.permute(0, 2, 3, 1).numpy())[0] == labels.numpy()).mean()
    return f"Of the training images, which it has learned from, it reads {right:.1%} right."


def some(total: int, most: int) -> list[int]:
    """0 … total − 1, or `most` of them evenly spaced."""
    return sorted({round(place) for place in np.linspace(0, total - 1, min(total, most))})
