"""What latent space looks like: between latents, along codes, and sums of latents.

Shape legend: n images, Z latent dimensions, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.families.arch import Code
from trainer.report.classes import reader
from trainer.report.errors import LeftOut
from trainer.report.page import Block, Row, Sheet, Text
from trainer.report.pictures import strip
from trainer.report.sections.samples import some
from trainer.report.subject import Images, Latents, Model, Subject

SEED = 1
STEPS = 9
PAIRS = 4
CODE_ROWS = 5
MOST_VALUES = 12
REACH = 2.0
"""Continuous codes are moved over ±2 as in InfoGAN's figure 2; training has seen ±1."""
NEARBY = 0.25
"""Half the width of the uniform noise around a result, DCGAN section 6.3.2."""
AVERAGED = 3
"""Latents in each term of a sum, as there."""
SUM_ROWS = 5
DRAWN, FEWEST = 200, 24
"""Images of a class among which its brightest and darkest are found."""


def interpolation(subject: Subject) -> Sequence[Block]:
    """Each pair of latents twice: along the line, and along the arc."""
    model, arch = subject.images_to_look_at, subject.arch
    ends = model.latents(2 * PAIRS, seed=SEED)
    labels = some(arch.classes, PAIRS) if arch.conditional else []
    times, rows = np.linspace(0.0, 1.0, STEPS), []
    for pair in range(PAIRS):
        first, second = ends[2 * pair], ends[2 * pair + 1]
        label = labels[pair % len(labels)] if labels else None
        name = "" if label is None else f" · {subject.class_name(label)}"
        for way, path in (("linear", lerp), ("spherical", slerp)):
            z = first[None].repeat(STEPS, axis=0)  # codes stay: a one-hot has nothing in between
            z[:, : arch.latent.dim] = path(first[: arch.latent.dim], second[: arch.latent.dim], times)
            images = model.decode(z, None if label is None else [label] * STEPS)
            rows.append(Row(way + name, strip(images, f"{STEPS} steps between two latents, {way}{name}")))
    heads = [f"{time:g}" for time in np.round(times, 3)]
    return [Sheet(rows, heads, caption=_why(subject))]


def _why(subject: Subject) -> str:
    prior = subject.arch.latent
    shared = "Two rows share their ends. " + ("Codes stay those of the first end. " if prior.codes else "")
    if prior.distribution == "uniform":
        return (
            f"{shared}The prior is uniform on [{prior.low:g}, {prior.high:g}]: every point of a line between two latents is "
            "as likely as its ends, so the line is the natural way here. An arc may leave the cube, where the generator "
            "was never trained."
        )
    return (
        f"{shared}The prior is normal: almost all latents have a length near √{prior.dim} ≈ {np.sqrt(prior.dim):.1f}. The middle of "
        "a line is shorter (by about √½), where the generator was hardly trained; the arc keeps the length (White 2016), so it "
        "is the natural way here."
    )


def lerp(a_Z: Latents, b_Z: Latents, times_T: np.ndarray) -> Latents:
    """(1 − t)·a + t·b, [T, Z]."""
    t = times_T[:, None].astype(np.float32)
    return np.asarray((1.0 - t) * a_Z + t * b_Z, np.float32)


def slerp(a_Z: Latents, b_Z: Latents, times_T: np.ndarray) -> Latents:
    """sin((1 − t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b with Ω the angle between a and b (Shoemake 1985), [T, Z].

    Lengths differ a little, and go over into each other. Of parallel vectors, the line.
    """
    a, b = a_Z.astype(np.float64), b_Z.astype(np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / lengths, -1.0, 1.0)) if lengths > 0 else 0.0
    if np.sin(angle) < 1e-6:
        return lerp(a_Z, b_Z, times_T)
    t = times_T[:, None]
    return np.asarray((np.sin((1.0 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle), np.float32)


def codes(subject: Subject) -> Sequence[Block]:
    """Each code over its values, the noise of a row the same."""
    model, known = subject.images_to_look_at, subject.arch.latent.codes
    if not known:
        raise LeftOut(f"family {subject.arch.family} has no latent codes")
    base = model.latents(CODE_ROWS, seed=SEED)
    return [_traversal(model, code, _spread(base, known, code)) for code in known]


def _spread(base: Latents, known: Sequence[Code], moved: Code) -> Latents:
    """The rows' latents; where a continuous code moves, the first categorical code differs from row to row."""
    z = base.copy()
    first = known[0]
    if moved.kind == "continuous" and first.kind == "categorical":
        z[:, first.column : first.column + first.size] = np.eye(first.size)[np.arange(len(z)) % first.size]
    return z


def _traversal(model: Model, code: Code, base: Latents) -> Sheet:
    if code.kind == "categorical":
        values = some(code.size, MOST_VALUES)
        settings = [np.eye(code.size, dtype=np.float32)[value] for value in values]
        heads, span = [str(value) for value in values], f"one of {code.size} values"
    else:
        steps = np.linspace(-REACH, REACH, STEPS)
        settings = [np.array([value], np.float32) for value in steps]
        heads, span = (
            [f"{value:g}" for value in steps],
            "uniform on [−1, 1]; the outer columns lie beyond what training has seen",
        )
    rows = []
    for number, latent in enumerate(base, 1):
        z = latent[None].repeat(len(settings), axis=0)
        z[:, code.column : code.column + code.size] = settings
        rows.append(
            Row(f"noise {number}", strip(model.decode(z), f"code {code.name} at {', '.join(heads)}, noise {number}"))
        )
    return Sheet(rows, heads, caption=f"Code {code.name}: {code.kind}, {span}.")


def arithmetic(subject: Subject) -> Sequence[Block]:
    """Sums of latents: of a conditional model those of bright and dark images, and before them one latent under every
    label; of others those of images that were classified."""
    model, arch = subject.images_to_look_at, subject.arch
    if arch.conditional:
        return [*_styles(subject, model), *_brightness(subject, model)]
    if arch.latent.codes:
        raise LeftOut("sums of one-hot codes are no codes; what the codes do is shown above")
    return _sums(subject, model)


def _styles(subject: Subject, model: Model) -> Sequence[Block]:
    labels = some(subject.arch.classes, MOST_VALUES)
    names = [subject.class_name(label) for label in labels]
    rows = []
    for number, latent in enumerate(model.latents(6, seed=SEED), 1):
        images = model.decode(latent[None].repeat(len(labels), axis=0), labels)
        rows.append(Row(f"latent {number}", strip(images, f"latent {number} under the labels {', '.join(names)}")))
    text = (
        "The label says what is drawn, so what is left to the latent is how. Each row carries one latent over to every class: "
        "the generator has separated the two if a row shares its look (stroke, slant, size, colour) while its classes change."
    )
    return [Text(text), Sheet(rows, names)]


def _brightness(subject: Subject, model: Model) -> Sequence[Block]:
    """Bright a − dark a + dark b under the label b, or a line on why not."""
    if subject.arch.latent.codes:
        return [Text("No sums of latents are drawn: sums of one-hot codes are no codes.")]
    labels = some(subject.arch.classes, SUM_ROWS)
    try:
        count = min(DRAWN, subject.affordable(share=0.1, sets=len(labels), least=FEWEST))
    except LeftOut as reason:
        return [Text(f"No sums of latents are drawn: {reason}.")]
    ends = {label: _ends(model, label, count, number) for number, label in enumerate(labels)}
    pairs = zip(labels, [*labels[1:], labels[0]], strict=True)
    rows = [_brightened(subject, model, ends, a, b) for a, b in pairs]
    text = (
        "Sums as in section 6.3 of the DCGAN paper, of a look instead of a class: a latent is the mean of three whose images are "
        "the brightest, or the darkest, of their class by mean pixel (of bright strokes on black: bold and thin). Bright a − "
        "dark a + dark b is drawn as a b, then five latents around it (uniform noise ±0.25). Where brightness is a direction that "
        "the classes share, the result is a bright b."
    )
    heads = ["bright a", "− dark a", "+ dark b", "=", *["nearby"] * 5]
    return [Text(text), Sheet(rows, heads, caption=f"Chosen among {count:,} generated images of each class.")]


def _ends(model: Model, label: int, count: int, number: int) -> tuple[Latents, Latents]:
    """(bright, dark): the mean latents of the class's brightest and darkest images."""
    z = model.latents(count, seed=SEED, start=number * count)
    order = np.argsort(decoded(model, z, label).mean(axis=(1, 2, 3)), kind="stable")
    return z[order[-AVERAGED:]].mean(axis=0), z[order[:AVERAGED]].mean(axis=0)


def _brightened(subject: Subject, model: Model, ends: Mapping[int, tuple[Latents, Latents]], a: int, b: int) -> Row:
    (bright_a, dark_a), (bright_b, dark_b) = ends[a], ends[b]
    result = bright_a - dark_a + dark_b
    noise = np.random.default_rng(SEED).uniform(-NEARBY, NEARBY, (5, len(result)))
    z = np.stack([bright_a, dark_a, dark_b, result, *(result + noise), bright_b]).astype(np.float32)
    images = model.decode(z, [a, a, *[b] * 8])
    dark, reached, bright = images[[2, 3, 9]].mean(axis=(1, 2, 3)) / 255.0
    names = subject.class_name(a), subject.class_name(b)
    label = f"bright {names[0]} − dark {names[0]} + dark {names[1]}"
    said = f"mean pixel {reached:.2f}; dark {names[1]} {dark:.2f}, bright {names[1]} {bright:.2f}"
    return Row(label, strip(images[:9], f"{label}: three means, the result and five images near it; {said}"), note=said)


def _sums(subject: Subject, model: Model) -> Sequence[Block]:
    read, known = reader(subject)
    count = min(2000, subject.affordable(share=0.2))
    z = model.latents(count, seed=SEED)
    labels, sure = read(decoded(model, z))
    groups = {label: z[labels == label][np.argsort(-sure[labels == label])] for label in range(known)}
    rich = [label for label, found in groups.items() if len(found) >= 6]
    if len(rich) < 3:
        raise LeftOut(
            f"the classifier finds 6 or more images of only {len(rich)} classes among {count:,}; three are needed"
        )
    rows = [_sum(subject, model, groups, terms) for terms in _terms(rich)]
    text = (
        "As in section 6.3 of the DCGAN paper: a latent is the mean of three whose images the classifier is surest of; mean of a − "
        "mean of b + mean of c is drawn, then five latents around it (uniform noise ±0.25). In the first rows c are other images "
        "of class b, so the result should be an a. Where three classes differ no answer is the right one: a good latent space "
        "gives a clean image all the same."
    )
    heads = ["a", "− b", "+ c", "=", *["nearby"] * 5]
    return [Text(text), Sheet(rows, heads, caption=f"Chosen among {count:,} generated images.")]


def _terms(rich: Sequence[int]) -> list[tuple[int, int, int]]:
    """Classes (a, b, c) of three or more: twice c = b, then three different ones, or twice where there are more classes."""
    n = len(rich)
    found = [(rich[0], rich[1], rich[1]), (rich[2], rich[-1], rich[-1]), (rich[0], rich[1], rich[2])]
    return [*found, (rich[-1], rich[n // 2], rich[1])] if n > 3 else found


def _sum(subject: Subject, model: Model, groups: dict[int, Latents], terms: tuple[int, int, int]) -> Row:
    a, b, c = terms
    means = [groups[a][:3].mean(axis=0), groups[b][:3].mean(axis=0), groups[c][3:6].mean(axis=0)]
    result = means[0] - means[1] + means[2]
    noise = np.random.default_rng(SEED).uniform(-NEARBY, NEARBY, (5, len(result)))
    images = model.decode(np.stack([*means, result, *(result + noise)]).astype(np.float32))
    read, _ = reader(subject)
    found = [subject.class_name(label) for label in read(images[3:])[0]]
    names = [subject.class_name(label) for label in terms]
    said = f"read as {found[0]}; nearby: {', '.join(found[1:])}"
    label = f"{names[0]} − {names[1]} + {names[2]}"
    return Row(label, strip(images, f"{label}: three means, the result and five images near it; {said}"), note=said)


def decoded(model: Model, z: Latents, label: int | None = None, chunk: int = 256) -> Images:
    """Images of many latents, all of one class if that is given."""
    parts = [z[first : first + chunk] for first in range(0, len(z), chunk)]
    return np.concatenate([model.decode(part, None if label is None else [label] * len(part)) for part in parts])
