"""Draws images from a published generator. Needs torch, numpy and safetensors, and nothing of the project that trained it.

This file is part of every package; so it works on its own, beside the package's other files:

    from generator import Generator
    images = Generator("folder").sample(n=64, seed=0)        # uint8 [64, H, W, C]

The folder holds `config.json` (what the model is), `program.pt2` (the net as a torch.export program, without weights)
and `model.safetensors` (the weights). Nothing in it is a pickle, and a program that holds one is refused.

Shape legend: n images, Z latent dimensions, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

FORMAT = 1
BATCH = 256


class Generator:
    """A generator and the distribution of its inputs."""

    def __init__(self, folder: str | Path) -> None:
        """Load from a package's folder. Raises ValueError for a package of another format or one that holds pickles."""
        folder = Path(folder)
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        if self.config.get("format") != FORMAT:
            raise ValueError(f"{folder}: is of format {self.config.get('format')}, this loader reads format {FORMAT}")
        refuse_pickles(folder / "program.pt2")
        self._net = torch.export.load(folder / "program.pt2").module()
        self._net.load_state_dict(load_file(folder / "model.safetensors"), strict=True, assign=True)

    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        labels: int | str | Sequence[int] | None = None,
        truncation: float | None = None,
        start: int = 0,
    ) -> NDArray[np.uint8]:
        """Images `start` … `start + n - 1` of `seed`, uint8 [n, H, W, C]. Image i depends on (seed, i) alone.

        n: how many; by default as many as there are labels, or 1.
        labels: n classes in [0, K); one class for all; or "balanced" for 0, 1, …, K − 1, 0, 1, …. By default random.
        truncation: coordinates of z outside ±truncation are drawn again (Brock et al. 2018); normal priors only.
        Raises ValueError that names the parameter, its value and what is possible.
        """
        wanted = self._labels(labels, n)
        count = whole("n", n if n is not None else len(wanted) if wanted is not None else 1)
        if count < 1:
            raise ValueError(f"n is {count}; ask for 1 image or more")
        if wanted is not None and len(wanted) == 1:
            wanted = np.repeat(wanted, count)
        if wanted is not None and len(wanted) != count:
            raise ValueError(f"labels has {len(wanted)} entries but n is {count}; give n labels, or one for all")
        limit = self._truncation(truncation)
        rows = range(start, start + count)
        source = whole("seed", seed)
        z = torch.cat([self._latent(source, i, limit) for i in rows])
        inputs = [z]
        if self.config["classes"]:
            drawn = [self._label(source, i) for i in rows]
            inputs.append(torch.tensor(drawn if wanted is None else wanted.tolist(), dtype=torch.int64))
        return self._images(inputs)

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
        if prior["distribution"] == "uniform":
            return torch.empty(1, prior["dim"]).uniform_(prior["low"], prior["high"], generator=source)
        z = torch.randn(1, prior["dim"], generator=source)
        while limit is not None and bool((outside := z.abs() > limit).any()):
            z = torch.where(outside, torch.randn(z.shape, generator=source), z)
        return z

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
