"""D in a package: of an imported model whose D was given with it. Its weights are `discriminator.safetensors`, its arch is that of
`config.json`, which names the file.

A package draws without it. D tells how real it takes images to be, and is what a training that goes on from these weights needs.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.families.table import family, module

FILE = "discriminator.safetensors"


def save(net: nn.Module, package: Path) -> None:
    """Write D's weights into a package that has its `config.json`, and read them back. net: on the CPU, of the package's arch.

    Raises ValueError as `load` does.
    """
    save_file({name: value.clone().contiguous() for name, value in net.state_dict().items()}, package / FILE)
    load(package)


def load(package: Path) -> nn.Module:
    """D of a package's folder, on the CPU, in float32 and evaluation mode, without gradients.

    Called with images float32 [n, C, H, W] in `config.json`'s `pixel_range` and labels int64 [n], it gives logits float32 [n]: the
    higher, the more it takes an image for a real one of its class. Runs no code of the package.
    Raises ValueError for a package without a D, or whose D is not that of its arch.
    """
    path = package / "config.json"
    if not path.is_file():
        raise ValueError(f"{package}: is no package: it has no config.json")
    config = json.loads(path.read_text())
    if "discriminator" not in config:
        raise ValueError(f"{package}: holds no discriminator; import the model again with --discriminator D.pth")
    arch = module(config["family"], "arch").ARCH.model_validate(config["arch"])
    with torch.device("meta"):
        net = family(arch.family).build(arch)["D"]
    try:
        net.load_state_dict(load_file(package / FILE), assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{package}: its {FILE} is not the D of its config.json ({error}); import it again") from None
    return net.eval().requires_grad_(False)
