"""Draws images from a published generator. Needs torch, numpy and safetensors, and nothing of the project that trained it.

This file is part of every package; so it works on its own, beside the package's other files:

    from generator import Generator
    generator = Generator("folder")                     # device="cuda", dtype="bfloat16" for a GPU
    images = generator.sample(n=64, seed=0)             # uint8 [64, H, W, C]
    images = generator.sample(n=10, codes={"c1": 3})    # a model with latent codes
    again = generator.decode(generator.encode(images))  # a model with an encoder: G(E(x))
    for images in generator.batches(n=1_000_000):       # as many as you like: memory holds one batch
        ...

The folder holds `config.json` (what the model is), `program.pt2` (the net as a torch.export program, without weights)
and `model.safetensors` (the weights); `encoder.pt2` and `encoder.safetensors` where the model has an encoder;
`standing.safetensors` where batch norm has statistics of its own for each truncation. Nothing in it is a pickle, and a
program that holds one is refused.

Shape legend: n images, b images of one batch, Z latent dimensions, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

FORMAT = 4
READABLE = (1, 2, 3, FORMAT)
"""Format 1 knew neither latent codes nor encoders, format 2 no statistics by truncation, format 3 no scheme of draws but 1."""
BATCH = 256
PIXELS = 2**22
"""Of a batch, at most: above 128 pixels a side it shrinks, so that a net's activations keep their size."""


def beside(name: str) -> ModuleType:
    """The module in the file beside this one; by its path, so that no other module of that name is meant."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"agon_model_{name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"{path} is missing; download the model again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING or __name__ == "trainer.publish.portable.generator":  # where the package is made
    from trainer import draws
    from trainer.publish.portable import nets, parameters
    from trainer.publish.portable.parameters import Codes, Labels
else:
    draws, nets, parameters = beside("draws"), beside("nets"), beside("parameters")
    Codes, Labels = parameters.Codes, parameters.Labels


class Generator:
    """A generator and the distribution of its inputs."""

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu", dtype: str = "float32") -> None:
        """Load from a package's folder.

        device: where the nets run: "cpu", "cuda", "cuda:1", …, or "auto" for a GPU if there is one. dtype: what they compute
        in: "float32", or "bfloat16" or "float16" (autocast; weights stay float32), faster on GPUs and not the same to the
        last level of a pixel. Latents are always drawn on the CPU, so that they are the same on every device.
        Raises ValueError for a package of another format or one that holds pickles, and for a device or dtype that torch hasn't.
        """
        folder = Path(folder)
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        if config.get("format") not in READABLE:
            raise ValueError(
                f"{folder}: is of format {config.get('format')}, this loader reads up to {FORMAT}; upgrade it"
            )
        older = {"codes": [], "encoder": False, "standing": [], "width": config["latent"]["dim"], "draws": 1}
        self.config = {**older, **config}
        if self.config["draws"] not in range(1, draws.SCHEME + 1):
            raise ValueError(f"{folder}: draws by scheme {config['draws']}, this loader knows up to {draws.SCHEME}")
        self.device = nets.find_device(device)
        self.dtype, self._arithmetic = dtype, nets.arithmetic(self.device, dtype)
        self._net = nets.load_net(folder / "program.pt2", folder / "model.safetensors", self.device)
        self._standing = load_file(folder / "standing.safetensors", str(self.device)) if self.config["standing"] else {}
        self._encoder: torch.nn.Module | None = None
        if self.config["encoder"]:
            self._encoder = nets.load_net(folder / "encoder.pt2", folder / "encoder.safetensors", self.device)

    @property
    def batch(self) -> int:
        """Images that go through the net at once."""
        side: int = self.config["resolution"]
        return max(1, min(BATCH, PIXELS // side**2))

    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        labels: Labels | None = None,
        truncation: float | None = None,
        start: int = 0,
        codes: Codes | None = None,
    ) -> NDArray[np.uint8]:
        """Images `start` … `start + n - 1` of `seed`, uint8 [n, H, W, C]. Image i depends on (seed, i) alone.

        n: how many; by default as many as there are labels or values of a code, or 1.
        labels: n classes, by number in [0, K) or by name; one class for all; or "balanced": image i is of class i modulo K. By default random.
        truncation: coordinates of z outside ±truncation are drawn again (Brock et al. 2018); normal priors only.
        codes: {"c1": 3, "c2": [-1, 0, 1]}: latent codes that are set instead of drawn (Chen et al. 2016).
        Raises ValueError that names the parameter, its value and what is possible.
        """
        found = self.batches(n, seed, labels, truncation, start, codes)
        return self._filled(self.count(n, labels, codes), found)

    def batches(
        self,
        n: int | None = None,
        seed: int = 0,
        labels: Labels | None = None,
        truncation: float | None = None,
        start: int = 0,
        codes: Codes | None = None,
        batch: int | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """The images of `sample`, uint8 [b, H, W, C] at a time, in order; memory holds one batch, however many they are.

        batch: b, by default `self.batch`; the last one may be smaller. Other parameters and errors as in `sample`.
        """
        count, first = parameters.span(self.count(n, labels, codes), start)
        source, limit = parameters.whole("seed", seed), parameters.truncation(self.config, truncation)
        chosen, values = parameters.labels(self.config, labels), parameters.codes(self.config, codes)
        size, _ = parameters.span(self.batch if batch is None else batch, 0)

        def drawn() -> Iterator[NDArray[np.uint8]]:
            statistics = self._statistics(limit)
            for at in range(0, count, size):
                rows = slice(at, min(at + size, count))
                z = self.latents(rows.stop - at, source, limit, first + at)
                part = {name: array[rows] if array.size == count > 1 else array for name, array in values.items()}
                yield self._images(
                    self.with_codes(z, part), self._classes(chosen, rows, count, source, first), statistics
                )

        return drawn()

    def count(self, n: int | None = None, labels: Labels | None = None, codes: Codes | None = None) -> int:
        """How many images `sample` makes of these. Raises ValueError if they don't fit each other."""
        chosen, values = parameters.labels(self.config, labels), parameters.codes(self.config, codes)
        return parameters.span(parameters.asked(n, chosen, values, self.config["classes"]), 0)[0]

    def numbered(self, labels: Labels | None) -> NDArray[np.int64] | str | None:
        """Classes that are given by number or name, as numbers, int64; "balanced"; or None. Raises ValueError for no class."""
        return parameters.labels(self.config, labels)

    def latents(
        self,
        n: int = 1,
        seed: int = 0,
        truncation: float | None = None,
        start: int = 0,
        codes: Codes | None = None,
    ) -> NDArray[np.float32]:
        """z of images `start` … `start + n - 1` of `seed`, float32 [n, Z]: noise, then codes. Parameters as in `sample`."""
        count, first = parameters.span(n, start)
        limit, source = parameters.truncation(self.config, truncation), parameters.whole("seed", seed)
        prior, scheme = self.config["latent"], self.config["draws"]
        z = draws.latents(prior, self.config["codes"], seed=source, first=first, n=count, limit=limit, scheme=scheme)
        return self.with_codes(z, codes) if codes else z

    def labels(self, n: int = 1, seed: int = 0, start: int = 0) -> NDArray[np.int64] | None:
        """The labels that `sample` draws for those images, int64 [n]; None for a model without classes."""
        source, (count, first) = parameters.whole("seed", seed), parameters.span(n, start)
        if not self.config["classes"]:
            return None
        return draws.labels(self.config["classes"], seed=source, first=first, n=count, scheme=self.config["draws"])

    def classes(
        self, n: int = 1, seed: int = 0, labels: Labels | None = None, start: int = 0
    ) -> NDArray[np.int64] | None:
        """The labels of those images in `sample`, as they are chosen or drawn, int64 [n]; None for a model without classes."""
        source, (count, first) = parameters.whole("seed", seed), parameters.span(n, start)
        chosen = parameters.labels(self.config, labels)
        parameters.asked(count, chosen, {}, self.config["classes"])
        return self._classes(chosen, slice(0, count), count, source, first)

    def with_codes(self, z: NDArray[np.float32], codes: Codes | None) -> NDArray[np.float32]:
        """A copy of latents z [n, Z] in which these codes have these values, one for all rows or one for each."""
        changed = parameters.latents(self.config, z).copy()
        known = {code["name"]: code for code in self.config["codes"]}
        values = parameters.codes(self.config, codes)
        parameters.asked(len(changed), None, values, self.config["classes"])
        for name, value in values.items():
            first, size = known[name]["column"], known[name]["size"]
            if known[name]["kind"] == "continuous":
                changed[:, first] = value
            else:
                changed[:, first : first + size] = np.eye(size, dtype=np.float32)[value.astype(np.int64)]
        return changed

    def decode(
        self, z: NDArray[np.float32], labels: Labels | None = None, truncation: float | None = None
    ) -> NDArray[np.uint8]:
        """The images of given latents z [n, Z], uint8 [n, H, W, C]; a class-conditional model needs their labels.

        truncation: at which z were drawn; some models normalise by it. The latents stay what they are.
        """
        given, chosen = parameters.latents(self.config, z), parameters.labels(self.config, labels)
        statistics, n = self._statistics(parameters.truncation(self.config, truncation)), len(given)
        if self.config["classes"] and chosen is None:
            raise ValueError("labels is missing; this model is class-conditional: give one class, or one for each z")
        if chosen is not None and not isinstance(chosen, str) and len(chosen) not in (1, n):
            raise ValueError(f"labels has {len(chosen)} entries but z has {n}; give as many, or one for all")
        parts = (slice(at, min(at + self.batch, n)) for at in range(0, n, self.batch))
        found = (self._images(given[rows], self._classes(chosen, rows, n, 0, 0), statistics) for rows in parts)
        return self._filled(n, found)

    @torch.inference_mode()
    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """z of images, float32 [n, Z]. images: uint8 [n, H, W, C]. Raises ValueError if the model has no encoder."""
        if self._encoder is None:
            raise ValueError(f"family {self.config['family']} has no encoder in this package; it can't encode images")
        given, (low, high) = parameters.images(self.config, images), self.config["pixel_range"]
        parts = []
        for first in range(0, len(given), self.batch):
            pixels = torch.tensor(given[first : first + self.batch]).to(self.device).permute(0, 3, 1, 2)
            with self._arithmetic():
                z = self._encoder(pixels.float().mul((high - low) / 255.0).add(low))
            parts.append(z.float().cpu())
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def forward(self, *inputs: Tensor) -> Tensor:
        """The bare net: z_nZ [, labels_n] → images_nCHW in `config["pixel_range"]`, on the device."""
        with self._arithmetic():
            images: Tensor = self._net(*(tensor.to(self.device) for tensor in inputs))
        return images

    def _classes(
        self, chosen: NDArray[np.int64] | str | None, rows: slice, n: int, seed: int, start: int
    ) -> NDArray[np.int64] | None:
        """Labels of the rows, of n images from number `start` on, as they were chosen; drawn ones without a choice."""
        if chosen is None:
            return self.labels(rows.stop - rows.start, seed, start + rows.start)
        if isinstance(chosen, str):
            first = start if self.config["draws"] > 1 else 0
            classes: int = self.config["classes"]
            return (first % classes + np.arange(rows.start, rows.stop)) % classes
        return np.broadcast_to(chosen, n)[rows]

    def _statistics(self, limit: float | None) -> dict[str, Tensor]:
        """Buffers of batch norm at this truncation, between those of the two nearest thresholds; {} for the net's own.

        Between two, variances are linear in the variance of the latents: exactly so where that is small.
        """
        if limit is None or not self._standing:
            return {}
        at = [variance(threshold) for threshold in self.config["standing"]]
        above = next(number for number, other in enumerate(at) if other >= variance(limit))
        share = (variance(limit) - at[above - 1]) / (at[above] - at[above - 1])
        return {name: torch.lerp(table[above - 1], table[above], share) for name, table in self._standing.items()}

    @torch.inference_mode()
    def _images(
        self, z: NDArray[np.float32], labels: NDArray[np.int64] | None, statistics: dict[str, Tensor]
    ) -> NDArray[np.uint8]:
        """One batch."""
        low, high = self.config["pixel_range"]
        inputs = (torch.tensor(z), *(() if labels is None else (torch.tensor(labels),)))
        given = tuple(tensor.to(self.device) for tensor in inputs)
        with self._arithmetic():
            raw = torch.func.functional_call(self._net, statistics, given) if statistics else self._net(*given)
        images = raw.float().sub(low).mul_(255.0 / (high - low)).round_().clamp_(0.0, 255.0).byte()
        found: NDArray[np.uint8] = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return found

    def _filled(self, n: int, parts: Iterator[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """All of them in one array."""
        size, at = self.config["resolution"], 0
        images = np.empty((n, size, size, self.config["channels"]), np.uint8)
        for part in parts:
            images[at : at + len(part)] = part
            at += len(part)
        return images


def variance(limit: float | None) -> float:
    """Variance of a standard normal that is drawn again outside ±limit: 1 − 2τφ(τ) / (2Φ(τ) − 1); 1 for None, 0 for 0."""
    if limit is None or limit > 9.0:
        return 1.0
    if limit < 1e-3:
        return limit * limit / 3.0  # the first term of its series; the formula would cancel
    density = math.exp(-limit * limit / 2.0) / math.sqrt(2.0 * math.pi)
    return 1.0 - 2.0 * limit * density / math.erf(limit / math.sqrt(2.0))
