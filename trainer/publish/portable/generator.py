"""Draws images from a published generator. Needs torch, numpy and safetensors, and nothing of the project that trained it.

This file is part of every package; so it works on its own, beside the package's other files:

    from generator import Generator
    generator = Generator("folder")
    images = generator.sample(n=64, seed=0)             # uint8 [64, H, W, C]
    images = generator.sample(n=10, codes={"c1": 3})    # a model with latent codes
    again = generator.decode(generator.encode(images))  # a model with an encoder: G(E(x))

The folder holds `config.json` (what the model is), `program.pt2` (the net as a torch.export program, without weights)
and `model.safetensors` (the weights); `encoder.pt2` and `encoder.safetensors` where the model has an encoder;
`standing.safetensors` where batch norm has statistics of its own for each truncation. Nothing in it is a pickle, and a
program that holds one is refused.

Shape legend: n images, Z latent dimensions, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

FORMAT = 3
READABLE = (1, 2, FORMAT)
"""Format 1 knew neither latent codes nor encoders, format 2 no statistics by truncation."""
BATCH = 256
MIN_TRUNCATION = 0.01
"""Below it, almost every draw lies outside, and drawing again takes forever."""
Labels = int | str | Sequence[int] | NDArray[np.int64]
Codes = Mapping[str, float | Sequence[float] | NDArray[np.float64]]
"""Latent codes by name (`codes` in config.json): one value for all images, or one for each."""


class Generator:
    """A generator and the distribution of its inputs."""

    def __init__(self, folder: str | Path) -> None:
        """Load from a package's folder. Raises ValueError for a package of another format or one that holds pickles."""
        folder = Path(folder)
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        if config.get("format") not in READABLE:
            raise ValueError(
                f"{folder}: is of format {config.get('format')}, this loader reads up to {FORMAT}; upgrade it"
            )
        self.config = {"codes": [], "encoder": False, "standing": [], "width": config["latent"]["dim"], **config}
        self._net = load_net(folder / "program.pt2", folder / "model.safetensors")
        self._standing = load_file(folder / "standing.safetensors") if self.config["standing"] else {}
        self._encoder: Callable[[Tensor], Tensor] | None = None
        if self.config["encoder"]:
            self._encoder = load_net(folder / "encoder.pt2", folder / "encoder.safetensors")

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
        labels: n classes in [0, K); one class for all; or "balanced" for 0, 1, …, K − 1, 0, 1, …. By default random.
        truncation: coordinates of z outside ±truncation are drawn again (Brock et al. 2018); normal priors only.
        codes: {"c1": 3, "c2": [-1, 0, 1]}: latent codes that are set instead of drawn (Chen et al. 2016).
        Raises ValueError that names the parameter, its value and what is possible.
        """
        wanted = self._labels(labels, n)
        values = self._codes(codes)
        lengths = [len(wanted)] if wanted is not None else []
        lengths += [array.size for array in values.values() if array.ndim]
        count = whole("n", n if n is not None else max(lengths, default=1))
        if wanted is not None and len(wanted) not in (1, count):
            raise ValueError(f"labels has {len(wanted)} entries but n is {count}; give n labels, or one for all")
        z = self.latents(count, seed, truncation, start, codes)
        return self.decode(z, wanted if wanted is not None else self.labels(count, seed, start), truncation)

    def latents(
        self,
        n: int = 1,
        seed: int = 0,
        truncation: float | None = None,
        start: int = 0,
        codes: Codes | None = None,
    ) -> NDArray[np.float32]:
        """z of images `start` … `start + n - 1` of `seed`, float32 [n, Z]: noise, then codes. Parameters as in `sample`."""
        rows, source, limit = self._rows(n, start), whole("seed", seed), self._truncation(truncation)
        return self.with_codes(torch.cat([self._latent(source, i, limit) for i in rows]).numpy(), codes)

    def labels(self, n: int = 1, seed: int = 0, start: int = 0) -> NDArray[np.int64] | None:
        """The labels that `sample` draws for those images, int64 [n]; None for a model without classes."""
        classes, source, rows = self.config["classes"], whole("seed", seed), self._rows(n, start)
        if not classes:
            return None
        drawn = [torch.randint(classes, (1,), generator=seeded(source, "sample-label", i)) for i in rows]
        return torch.cat(drawn).numpy()

    def with_codes(self, z: NDArray[np.float32], codes: Codes | None) -> NDArray[np.float32]:
        """A copy of latents z [n, Z] in which these codes have these values, one for all rows or one for each."""
        changed = self._z(z).copy()
        known = {code["name"]: code for code in self.config["codes"]}
        for name, values in self._codes(codes).items():
            if values.shape not in ((), (1,), (len(changed),)):
                raise ValueError(
                    f"code {name} has {values.size} values for {len(changed)} images; give one, or as many"
                )
            first, size = known[name]["column"], known[name]["size"]
            if known[name]["kind"] == "continuous":
                changed[:, first] = values
            else:
                one_hot = np.eye(size, dtype=np.float32)[values.astype(np.int64)]
                changed[:, first : first + size] = one_hot
        return changed

    def decode(
        self, z: NDArray[np.float32], labels: Labels | None = None, truncation: float | None = None
    ) -> NDArray[np.uint8]:
        """The images of given latents z [n, Z], uint8 [n, H, W, C]; a class-conditional model needs their labels.

        truncation: at which z were drawn; some models normalise by it. The latents stay what they are.
        """
        given, statistics = self._z(z), self._statistics(self._truncation(truncation))
        wanted = self._labels(labels, len(given))
        if not self.config["classes"]:
            return self._images([torch.tensor(given)], statistics)
        if wanted is None:
            raise ValueError("labels is missing; this model is class-conditional: give one class, or one for each z")
        if len(wanted) not in (1, len(given)):
            raise ValueError(f"labels has {len(wanted)} entries but z has {len(given)}; give as many, or one for all")
        return self._images([torch.tensor(given), torch.tensor(np.broadcast_to(wanted, len(given)).copy())], statistics)

    @torch.inference_mode()
    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """z of images, float32 [n, Z]. images: uint8 [n, H, W, C]. Raises ValueError if the model has no encoder."""
        if self._encoder is None:
            raise ValueError(f"family {self.config['family']} has no encoder in this package; it can't encode images")
        size, channels = self.config["resolution"], self.config["channels"]
        given = np.asarray(images)
        if given.dtype != np.uint8 or given.shape[1:] != (size, size, channels) or not len(given):
            raise ValueError(
                f"images are {given.dtype} {list(given.shape)}; give uint8 [n, {size}, {size}, {channels}]"
            )
        low, high = self.config["pixel_range"]
        x = torch.tensor(given).permute(0, 3, 1, 2)
        parts = [
            self._encoder(x[first : first + BATCH].float().mul((high - low) / 255.0).add(low))
            for first in range(0, len(x), BATCH)
        ]
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def forward(self, *inputs: Tensor) -> Tensor:
        """The bare net: z_nZ [, labels_n] → images_nCHW in `config["pixel_range"]`."""
        images: Tensor = self._net(*inputs)
        return images

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
    def _images(self, inputs: list[Tensor], statistics: dict[str, Tensor]) -> NDArray[np.uint8]:
        low, high = self.config["pixel_range"]
        parts = []
        for first in range(0, len(inputs[0]), BATCH):
            batch = [tensor[first : first + BATCH] for tensor in inputs]
            raw = torch.func.functional_call(self._net, statistics, tuple(batch)) if statistics else self._net(*batch)
            images = raw.float().sub(low).mul_(255.0 / (high - low)).round_().clamp_(0.0, 255.0).byte()
            parts.append(images.permute(0, 2, 3, 1).contiguous().numpy())
        return np.concatenate(parts)

    def _latent(self, seed: int, i: int, limit: float | None) -> Tensor:
        prior, source = self.config["latent"], seeded(seed, "sample", i)
        dim = prior["dim"]
        if prior["distribution"] == "uniform":
            noise = torch.empty(1, dim).uniform_(prior["low"], prior["high"], generator=source)
        else:
            noise = torch.randn(1, dim, generator=source)
        z = torch.cat([noise, *(draw_code(code, source) for code in self.config["codes"])], dim=1)
        while limit is not None and bool((outside := z[:, :dim].abs() > limit).any()):
            z[:, :dim] = torch.where(outside, torch.randn(1, dim, generator=source), z[:, :dim])
        return z

    def _rows(self, n: int, start: int) -> range:
        """Numbers of the images asked for."""
        count, first = whole("n", n), whole("start", start)
        if count < 1 or first < 0:
            raise ValueError(
                f"start is {first}; begin at 0 or later" if count > 0 else f"n is {count}; ask for 1 or more"
            )
        return range(first, first + count)

    def _z(self, z: Any) -> NDArray[np.float32]:
        """Latents as they must be; raises ValueError that says how they are."""
        width = self.config["width"]
        try:
            given = np.ascontiguousarray(z, dtype=np.float32)
        except (TypeError, ValueError):
            raise ValueError(f"z is a {type(z).__name__} that is no array of numbers; give [n, {width}]") from None
        if given.ndim != 2 or given.shape[1] != width or not len(given) or not np.isfinite(given).all():
            raise ValueError(f"z has shape {list(given.shape)}; give finite numbers [n, {width}]")
        return given

    def _codes(self, codes: Codes | None) -> dict[str, NDArray[np.float64]]:
        """The values asked for, each a number or a list of numbers that the code can be."""
        if codes is not None and not isinstance(codes, Mapping):
            raise ValueError(f"codes is {codes!r}; give a mapping such as {{'c1': 3}}")
        return {name: self._values(name, values) for name, values in (codes or {}).items()}

    def _values(self, name: str, values: Any) -> NDArray[np.float64]:
        known = {code["name"]: code for code in self.config["codes"]}
        if name not in known:
            has = f"its codes are {', '.join(known)}" if known else "this model has no codes"
            raise ValueError(f"codes has {name!r}, but {has}")
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            array = np.asarray(np.nan)
        if array.ndim > 1 or not array.size or not np.isfinite(array).all():
            raise ValueError(f"code {name} is {values!r}; give a number, or one for each image")
        size = known[name]["size"]
        whole_numbers = (array == array.round()).all() and array.min() >= 0 and array.max() < size
        if known[name]["kind"] == "categorical" and not whole_numbers:
            raise ValueError(f"code {name} is {values!r}; give whole numbers in [0, {size})")
        return array

    def _labels(self, labels: Labels | None, n: int | None) -> NDArray[np.int64] | None:
        classes = self.config["classes"]
        if labels is None or np.size(labels) == 0:
            return None
        if not classes:
            raise ValueError(f"labels is {labels!r}, but this model has no classes; leave labels out")
        if isinstance(labels, str):
            if labels != "balanced":
                raise ValueError(f"labels is {labels!r}; give numbers in [0, {classes}), or 'balanced'")
            balanced: NDArray[np.int64] = np.arange(classes if n is None else whole("n", n)) % classes
            return balanced
        numbers = np.array([whole("labels", label) for label in np.atleast_1d(np.asarray(labels)).tolist()], np.int64)
        if numbers.min() < 0 or numbers.max() >= classes:
            raise ValueError(
                f"labels holds {numbers[(numbers < 0) | (numbers >= classes)][0]}; give numbers in [0, {classes})"
            )
        return numbers

    def _truncation(self, truncation: float | None) -> float | None:
        if truncation is None:
            return None
        number = isinstance(truncation, (int, float, np.number)) and not isinstance(truncation, bool)
        if not number or not truncation >= MIN_TRUNCATION:
            raise ValueError(f"truncation is {truncation!r}; give a number from {MIN_TRUNCATION} on, or leave it out")
        prior = self.config["latent"]["distribution"]
        if prior != "normal":
            raise ValueError(f"truncation is {truncation}, but this model's prior is {prior}; it needs a normal prior")
        return float(truncation)


def variance(limit: float | None) -> float:
    """Variance of a standard normal that is drawn again outside ±limit: 1 − 2τφ(τ) / (2Φ(τ) − 1); 1 for None, 0 for 0."""
    if limit is None or limit > 9.0:
        return 1.0
    if limit < 1e-3:
        return limit * limit / 3.0  # the first term of its series; the formula would cancel
    density = math.exp(-limit * limit / 2.0) / math.sqrt(2.0 * math.pi)
    return 1.0 - 2.0 * limit * density / math.erf(limit / math.sqrt(2.0))


def load_net(program: Path, weights: Path) -> torch.nn.Module:
    """The net of a torch.export program and its weights. Raises ValueError for a program that holds pickles."""
    refuse_pickles(program)
    net: torch.nn.Module = torch.export.load(program).module()
    net.load_state_dict(load_file(weights), strict=True, assign=True)
    return net


def draw_code(code: Mapping[str, Any], source: torch.Generator) -> Tensor:
    """The columns of one code, [1, size]: the one-hot of a random value, or U(-1, 1)."""
    if code["kind"] == "continuous":
        return torch.empty(1, 1).uniform_(-1.0, 1.0, generator=source)
    return torch.eye(code["size"])[torch.randint(code["size"], (1,), generator=source)]


def whole(name: str, value: Any) -> int:
    """The value as int; raises ValueError naming the parameter if it isn't a whole number."""
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not float(number).is_integer():
        raise ValueError(f"{name} is {value!r}; give a whole number")
    return int(number)


def seeded(seed: int, *parts: str | int) -> torch.Generator:
    """A generator for one purpose, from the first 63 bits of SHA-256 of `seed/part/part…`."""
    text = "/".join(str(part) for part in (seed, *parts))
    folded = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(folded)


def refuse_pickles(program: Path) -> None:
    """Raise ValueError if torch.export.load would unpickle anything of this file, or load compiled code from it."""
    with zipfile.ZipFile(program) as archive:
        for entry in archive.infolist():
            part = entry.filename.partition("/")[2]
            name = part.rpartition("/")[2]
            bad = part.startswith("data/aotinductor/") or name.startswith(("custom_obj_", "opaque_obj_"))
            bad = bad or (name.endswith(".pt") and entry.file_size > 0)
            if name.endswith("_config.json") and part.startswith("data/"):
                payloads = json.loads(archive.read(entry)).get("config", {}).values()
                bad = bad or any(payload.get("use_pickle") for payload in payloads)
            if bad:
                raise ValueError(f"{program}: {part} is code or a pickle; a published program holds neither")
