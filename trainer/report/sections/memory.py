"""Memorisation: how near samples come to training images, measured by how near training images come to each other.

Shape legend: Q queries, N training images, F features, k neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.stream import Dataset
from trainer.evaluate.references import real_indices
from trainer.report import charts
from trainer.report.charts import Chart
from trainer.report.errors import LeftOut
from trainer.report.page import Block, Charts, Row, Sheet, Text
from trainer.report.pictures import strip
from trainer.report.subject import Images, Subject

SEED = 2
NEIGHBOURS = 5
WORST = 5
"""Rows: the samples with the nearest neighbours."""
QUERIES = 500
AMONG = 20_000
"""Training images that are searched, at most."""
CHUNK = 1000
Embed = Callable[[Tensor], Tensor]
"""uint8 images BCHW → float32 [B, F]"""


@dataclass(frozen=True)
class Nearest:
    """distance [Q, k] ascending, and which training images [Q, k]."""

    distance: NDArray[np.float64]
    index: NDArray[np.int64]


def neighbours(subject: Subject) -> Sequence[Block]:
    """In pixel space, and in the extractor's feature space if there is one."""
    model, data = subject.images_to_look_at, subject.data
    spaces: list[tuple[str, str, Embed]] = [("pixels", "root mean square difference", pixels)]
    if subject.features is not None:
        eye = subject.features
        spaces.append(("features", f"distance of {eye.name} features", lambda images: eye(images)))
    count = min(QUERIES, subject.affordable(share=0.15, least=50), data.manifest.samples // 2)
    if count < NEIGHBOURS:
        raise LeftOut(f"the dataset has only {data.manifest.samples} images")
    among = real_indices(data.manifest.samples, min(AMONG, 4 * subject.effort.samples))
    fakes = model.sample(n=count, seed=SEED)
    own = among[np.linspace(0, len(among) - 1, count).astype(np.int64)]
    searched = "all" if len(among) == data.manifest.samples else f"{len(among):,} of"
    count_text = f"{count:,} samples against {searched} {data.manifest.samples:,} training images; {count:,} of these against the others."
    found = [_in_space(data, among, own, fakes, *space) for space in spaces]
    verdicts = " ".join(verdict for verdict, _, _ in found)
    return [
        Text(f"{count_text} {verdicts}"),
        Charts([chart for _, chart, _ in found]),
        *(sheet for _, _, sheet in found),
    ]


def _in_space(
    data: Dataset, among: NDArray[np.int64], own: NDArray[np.int64], fakes: Images, name: str, unit: str, embed: Embed
) -> tuple[str, Chart, Sheet]:
    """What is to be said of one space, the distances, and the samples that come nearest."""
    query = torch.from_numpy(fakes).permute(0, 3, 1, 2)
    found = search(data, among, embed(query), embed)
    real = search(data, among, embed(data.images(own)[0]), embed, exclude=own)
    near, usual = found.distance[:, 0], real.distance[:, 0]
    rows = []
    for worst in np.argsort(near)[:WORST]:
        images, _ = data.images(found.index[worst])
        cells = np.concatenate([fakes[worst][None], images.permute(0, 2, 3, 1).numpy()])
        rank = (usual < near[worst]).mean()
        alt = f"a sample and its {NEIGHBOURS} nearest training images by {name}"
        note = f"{rank:.0%} of training images have a nearer neighbour"
        rows.append(Row(f"{near[worst]:.3g}", strip(cells, alt), note))
    groups = [("samples", near), ("training images", usual)]
    chart = charts.histogram(f"To the nearest training image, by {name}", groups, x=unit)
    heads = ["sample", *[f"nearest {place}" for place in range(1, NEIGHBOURS + 1)]]
    caption = f"By {name}: the {len(rows)} of {len(fakes):,} samples that lie nearest, each with its distance."
    return verdict(near, usual, name), chart, Sheet(rows, heads, caption, half=True)


def verdict(near: NDArray[np.float64], usual: NDArray[np.float64], name: str) -> str:
    """How the samples' nearest distances compare with those of training images among themselves."""
    below = float((near < np.quantile(usual, 0.01)).mean())
    end = (
        "; as 1 % would be usual, look below for copies (or for blurred images, which are near to everything)."
        if below > 0.05
        else "."
    )
    return (
        f"By {name}, the median sample lies {np.median(near):.3g} from its nearest training image, a training image "
        f"{np.median(usual):.3g} from its nearest other; {below:.1%} of the samples come nearer than 99 % of training images do{end}"
    )


def search(
    data: Dataset, among: NDArray[np.int64], query_QF: Tensor, embed: Embed, exclude: NDArray[np.int64] | None = None
) -> Nearest:
    """The k nearest of the training images `among`. `exclude` [Q]: each query's own sample number."""
    query = query_QF.double()  # cdist squares and subtracts: in float32 a copy would seem to lie a little away
    best = torch.full((len(query), NEIGHBOURS), torch.inf, dtype=torch.float64)
    index = torch.zeros(best.shape, dtype=torch.int64)
    for first in range(0, len(among), CHUNK):
        numbers = torch.from_numpy(among[first : first + CHUNK])
        distance = torch.cdist(query, embed(data.images(numbers.numpy())[0]).double())
        if exclude is not None:
            distance[torch.from_numpy(exclude)[:, None] == numbers] = torch.inf
        together = torch.cat([best, distance], dim=1)
        numbered = torch.cat([index, numbers.expand(len(query), -1)], dim=1)
        best, place = together.topk(NEIGHBOURS, largest=False)
        index = numbered.gather(1, place)
    return Nearest(best.numpy(), index.numpy())


def pixels(images_BCHW: Tensor) -> Tensor:
    """Pixels in [0, 1], scaled so that the Euclidean distance is the root mean square difference."""
    flat = images_BCHW.flatten(1).float().div(255.0)
    return flat.div(math.sqrt(flat.shape[1]))
