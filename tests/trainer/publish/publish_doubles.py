"""A package whose images show the latents that they were made from, and whose encoder reads them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.checksums import write_checksums
from trainer.draws import SCHEME
from trainer.families.arch import CodedLatent, Latent
from trainer.publish.portable.generator import FORMAT
from trainer.publish.program import export_program

SIZE = 8
RANGE = (-4.0, 4.0)
LABEL = 0.5
"""A label's share of the pixel that shows it."""


class Shown(nn.Module):
    """z_BZ [, labels_B] → images: the first Z pixels are z, the last one is the label."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.width = width

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        rest = torch.zeros_like(z_BZ[:, :1]).expand(-1, SIZE * SIZE - self.width - 1)
        label = z_BZ[:, :1] * 0 if labels_B is None else LABEL * labels_B[:, None].to(z_BZ.dtype)
        return (torch.cat([z_BZ, rest, label], dim=1) * self.scale).reshape(-1, 1, SIZE, SIZE)


class Read(nn.Module):
    """Images → their first Z pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.width = width

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.flatten(1)[:, : self.width] * self.scale


def make_package(folder: Path, latent: Latent, *, classes: int = 0, encoder: bool = False, **config: Any) -> Path:
    """Write it to `folder`, as far as `generator.py` needs it."""
    folder.mkdir(parents=True)
    width = latent.width
    facts = {
        "format": FORMAT, "draws": SCHEME, "family": "double", "resolution": SIZE, "channels": 1, "classes": classes,
        "pixel_range": list(RANGE), "latent": latent.model_dump(), "width": width,
        "codes": [vars(code) for code in latent.codes], "encoder": encoder,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(facts | config))

    def inputs(n: int) -> tuple[Tensor, ...]:
        return (torch.zeros(n, width), *([torch.zeros(n, dtype=torch.int64)] if classes else []))

    nets = {("program", "model"): (Shown(width), inputs)}
    if encoder:
        nets["encoder", "encoder"] = Read(width), lambda n: (torch.zeros(n, 1, SIZE, SIZE),)
    for (program, weights), (net, example) in nets.items():
        save_file(
            {name: value.detach().clone() for name, value in net.state_dict().items()},
            folder / f"{weights}.safetensors",
        )
        export_program(net.eval().requires_grad_(False), example, folder / f"{program}.pt2")
    write_checksums(folder)
    return folder


def shown(images: np.ndarray, width: int) -> np.ndarray:
    """The latents that images show, to within a byte."""
    low, high = RANGE
    return images.reshape(len(images), -1)[:, :width] / 255.0 * (high - low) + low


def shown_labels(images: np.ndarray) -> np.ndarray:
    """The labels that images show."""
    return np.round(shown(images, SIZE * SIZE)[:, -1] / LABEL).astype(int)


CODED = CodedLatent(dim=4, categorical=(5,), continuous=2)
"""Columns 0–3 noise, 4–8 c1, 9 c2, 10 c3."""
STEP = (RANGE[1] - RANGE[0]) / 255.0
