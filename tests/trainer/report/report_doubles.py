"""What the reports' tests share: tiny packages, a model that is a function of its latents, and a look at pages."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.publish import build_package
from trainer.publish.card import Lineage
from trainer.report.errors import LeftOut
from trainer.report.page import Section
from trainer.report.sections import SECTIONS
from trainer.report.subject import Effort
from trainer.spec import JobSpec, with_overrides

TINY = Effort(seconds=60.0, samples=200)
SMALL = {
    "dcgan-digits": ["arch.g_width=4", "arch.d_width=4", "arch.latent.dim=8"],
    "gan-digits": ["arch.g_hidden=16", "arch.d_hidden=8"],
    "infogan-digits": ["arch.g_width=4", "arch.d_width=4", "arch.g_hidden=8", "arch.d_hidden=8", "arch.q_hidden=4"],
    "vae-digits": ["arch.g_hidden=16", "arch.e_hidden=16"],
}
SECTION = {section.id: section for section in SECTIONS}


def small(recipe: str, *changes: str) -> JobSpec:
    """A tiny spec of 8 px digits."""
    base = ["arch.resolution=8", "resources.workers=1", "evaluation.metrics=[fid]", "evaluation.samples=200"]
    return with_overrides(recipes()[recipe](), [*base, *SMALL[recipe], *changes])


def package(recipe: str, folder: Path, cache: Path, *changes: str) -> Path:
    """A real package of an untrained generator."""
    spec = small(recipe, *changes)
    distributed = Distributed.create(spec, world=1)
    dataset, state = open_dataset(spec, cache_dir=cache), TrainState.create(spec, distributed)
    lineage = Lineage("job-7", 120, 7680, dataset.manifest.digest, spec.digest(), "0.1.0 (abc)")
    provenance = {"extractor": "classifier", "truncation": None}
    return build_package(
        state, folder / "model", dataset=dataset, scores={"fid": 12.5}, provenance=provenance, lineage=lineage
    )


def made(section: str, subject: Any) -> list[Any]:
    """The section's blocks."""
    return list(SECTION[section].make(subject))


def why_not(section: str, subject: Any) -> str:
    """Why the section is left out; fails if it is not."""
    try:
        SECTION[section].make(subject)
    except LeftOut as reason:
        return str(reason)
    raise AssertionError(f"{section} is shown")


class Lookup:
    """A model that knows what it draws: the first coordinate of z, rounded, is the class; the images are the data's.

    copies: it draws training image number i for latent i instead, pixel by pixel.
    """

    def __init__(self, dataset: Any, dim: int, copies: bool = False) -> None:
        images, labels = dataset.images(np.arange(dataset.manifest.samples))
        self.images, self.labels = images.permute(0, 2, 3, 1).numpy(), labels.numpy()
        self.dim, self.copies = dim, copies
        self.first = [int(np.flatnonzero(self.labels == label)[0]) for label in range(10)]

    def latents(self, n: int = 1, seed: int = 0, truncation: float | None = None, start: int = 0) -> Any:
        z = np.random.default_rng([seed, start]).uniform(-0.1, 0.1, (n, self.dim)).astype(np.float32)
        z[:, 0] += (np.arange(n) + start) % 10
        return z

    def decode(self, z: Any, labels: Any = None) -> Any:
        return self.images[[self.first[round(float(one[0])) % 10] for one in z]]

    def sample(self, n=None, seed=0, labels=None, truncation=None, start=0) -> Any:
        if self.copies:
            return self.images[7 * np.arange(n) % len(self.images)]
        return self.decode(self.latents(n or len(labels), seed, truncation, start))

    def encode(self, images: Any) -> Any:
        raise ValueError("no encoder")


class Page(HTMLParser):
    """What a browser would read of a page."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.tags if found == tag]

    def loads(self) -> list[str]:
        """Everything that a browser would fetch."""
        found = [value for _, attrs in self.tags for name, value in attrs.items() if name in ("src", "srcset", "data")]
        found += [attrs["href"] for tag, attrs in self.tags if tag in ("link", "use", "image") and "href" in attrs]
        found += re.findall(r"url\(([^)]*)\)", " ".join(self.text + [str(attrs) for _, attrs in self.tags]))
        return found


def broken(message: str) -> Section:
    """A section that fails."""

    def make(subject: Any) -> Any:
        raise RuntimeError(message)

    return Section("broken", "Broken", "It fails.", make)
