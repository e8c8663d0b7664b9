"""Draws images from a published generator. Needs torch, numpy and safetensors, and nothing of the project that trained it.

This file is part of every package; so it works on its own, beside the package's other files:

    from generator import Generator
    images = Generator("folder").sample(n=64, seed=0)        # uint8 [64, H, W, C]

The folder holds `config.json` (what the model is), `program.pt2` (the net as a torch.export program, without weights)
and `model.safetensors` (the weights); `encoder.pt2` and `encoder.safetensors` where the model has an encoder. Nothing in
it is a pickle, and a program that holds one is refused.

Shape legend: n images, Z latent dimensions, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

FORMAT = 2
BATCH = 256
Codes = Mapping[str, float | Sequence[float]]
"""Latent codes by name (`codes` in config.json): one value for all images, or one for each."""


class Generator:
    """A generator and the distribution of its inputs."""

    def __init__(self, folder: str | Path) -> None:
        """Load from a package's folder. Raises ValueError for a package of another format or one that holds pickles."""
        folder = Path(folder)
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        if self.config.get("format") != FORMAT:
            raise ValueError(f"{folder}: is of format {self.config.get('format')}, this loader reads format {FORMAT}")
        self._net = load_net(folder / "program.pt2", folder / "model.safetensors")
        self._encoder: Callable[[Tensor], Tensor] | None = None
        if self.config["encoder"]:
            self._encoder = load_net(folder / "encoder.pt2", folder / "encoder.safetensors")

    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        labels: int | str | Sequence[int] | None = None,
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
        lengths = [len(wanted)] if wanted is not None else []
        lengths += [np.size(value) for value in (codes or {}).values() if np.ndim(value)]
        count = whole("n", n if n is not None else max(lengths, default=1))
        if wanted is not None and len(wanted) == 1:
            wanted = np.repeat(wanted, count)
        if wanted is not None and len(wanted) != count:
            raise ValueError(f"labels has {len(wanted)} entries but n is {count}; give n labels, or one for all")
        z = torch.from_numpy(self.latents(count, seed, truncation, start, codes))
        if not self.config["classes"]:
            return self._images([z])
        drawn = [self._label(whole("seed", seed), i) for i in range(start, start + count)]
        return self._images([z, torch.tensor(drawn if wanted is None else wanted.tolist(), dtype=torch.int64)])

    def latents(
        self,
        n: int = 1,
        seed: int = 0,
        truncation: float | None = None,
        start: int = 0,
        codes: Codes | None = None,
    ) -> NDArray[np.float32]:
        """z of images `start` … `start + n - 1` of `seed`, float32 [n, Z]: noise, then codes. Parameters as in `sample`."""
        count, source, limit = whole("n", n), whole("seed", seed), self._truncation(truncation)
        if count < 1:
            raise ValueError(f"n is {count}; ask for 1 image or more")
        z = torch.cat([self._latent(source, i, limit) for i in range(start, start + count)])
        for name, values in (codes or {}).items():
            self._set_code(z, name, values)
        return z.numpy()

    def decode(self, z: NDArray[np.float32], labels: int | str | Sequence[int] | None = None) -> NDArray[np.uint8]:
        """The images of given latents z [n, Z], uint8 [n, H, W, C]; a class-conditional model needs their labels."""
        given = torch.from_numpy(np.ascontiguousarray(z, dtype=np.float32))
        width = self.config["width"]
        if given.ndim != 2 or given.shape[1] != width or not len(given):
            raise ValueError(f"z has shape {list(given.shape)}; give [n, {width}]")
        wanted = self._labels(labels, len(given))
        if not self.config["classes"]:
            return self._images([given])
        if wanted is None:
            raise ValueError("labels is missing; this model is class-conditional: give one class, or one for each z")
        if len(wanted) not in (1, len(given)):
            raise ValueError(
                f"labels has {len(wanted)} entries but z has {len(given)}; give one for each, or one for all"
            )
        return self._images([given, torch.from_numpy(np.broadcast_to(wanted, len(given)).copy())])

    @torch.inference_mode()
    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """z of images, float32 [n, Z]. images: uint8 [n, H, W, C]. Raises ValueError if the model has no encoder."""
        if self._encoder is None:
            raise ValueError(f"family {self.config['family']} has no encoder in this package; it can't encode images")
        size, channels = self.config["resolution"], self.config["channels"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, channels):
            raise ValueError(
                f"images are {images.dtype} {list(images.shape)}; give uint8 [n, {size}, {size}, {channels}]"
            )
        low, high = self.config["pixel_range"]
        x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
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

    def _images(self, inputs: list[Tensor]) -> NDArray[np.uint8]:
        low, high = self.config["pixel_range"]
        parts = []
        for first in range(0, len(inputs[0]), BATCH):
            batch = [tensor[first : first + BATCH] for tensor in inputs]
            images = self.forward(*batch).float().sub(low).mul_(255.0 / (high - low)).round_().clamp_(0.0, 255.0).byte()
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

    def _set_code(self, z: Tensor, name: str, values: float | Sequence[float]) -> None:
        """Write one code's columns of z in place."""
        codes = {code["name"]: code for code in self.config["codes"]}
        if name not in codes:
            known = f"its codes are {', '.join(codes)}" if codes else "this model has no codes"
            raise ValueError(f"codes has {name!r}; {known}")
        code = codes[name]
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"code {name} is {values!r}; give a number, or one for each image") from None
        if array.shape not in ((), (1,), (len(z),)) or not np.isfinite(array).all():
            raise ValueError(f"code {name} is {values!r}; give one number, or {len(z)}")
        given = torch.from_numpy(np.broadcast_to(array, len(z)).astype(np.float32))
        first, size = code["column"], code["size"]
        if code["kind"] == "continuous":
            z[:, first] = given
            return
        if bool((given != given.round()).any()) or not 0 <= int(given.min()) <= int(given.max()) < size:
            raise ValueError(f"code {name} is {values!r}; give whole numbers in [0, {size})")
        z[:, first : first + size] = torch.eye(size)[given.long()]

    def _label(self, seed: int, i: int) -> int:
        return int(torch.randint(self.config["classes"], (1,), generator=seeded(seed, "sample-label", i)))

    def _labels(self, labels: int | str | Sequence[int] | None, n: int | None) -> NDArray[np.int64] | None:
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
        if isinstance(truncation, bool) or not isinstance(truncation, (int, float, np.number)) or not truncation > 0:
            raise ValueError(f"truncation is {truncation!r}; give a number above 0, or leave it out")
        prior = self.config["latent"]["distribution"]
        if prior != "normal":
            raise ValueError(f"truncation is {truncation}, but this model's prior is {prior}; it needs a normal prior")
        return float(truncation)


def load_net(program: Path, weights: Path) -> Callable[..., Tensor]:
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
