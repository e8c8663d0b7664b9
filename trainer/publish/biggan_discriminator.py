"""Discriminators of the authors' BigGAN-PyTorch code: the `D.pth` beside a G, `agon import … --discriminator D.pth`.

D and G are nets of one arch here, so D must be of G's family, resolution, channels, classes, depth and attention; its width is
its own. Taken are BigGAN's and BigGAN-deep's at 32, 128, 256 and 512 px. At 64 px (which the paper has no table of) the stages of
their D have other channels than ours, which mirrors G, and it is refused.

At 32 px their D takes its four (BigGAN-deep: three) maps for maps of 16 px, so it has attention on all of them or none: a D of
32 px with attention has it at other places than any G, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from trainer.families.biggan.arch import LARGE, SMALL, BigganArch, BigganBase
from trainer.families.biggan.parts import BigganFamily
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.families.table import family as find_family
from trainer.publish.biggan_weights import NEEDLESS, filled, is_normalised, reasons, unlike
from trainer.publish.state_dicts import read_state, refuse_unusable

WANTED = "a D.pth of BigGAN-PyTorch"
ESSENTIAL = {"blocks.0.0.conv1.weight": 4, "linear.weight": 2, "embed.weight": 2}
"""Tensors that say which discriminator it is, and their dimensions."""
STEM, FIRST = "input_conv.weight", "blocks.0.0.conv1.weight"
RENAMED = (
    (r"^judgement\.", ""),
    (r"\.(?:shortcut|missing)\.", ".conv_sc."),
    (r"\.out\.", ".o."),
    (r"\.u$", ".u0"),
)
"""Our names → theirs, one after the other; the places of blocks and attention follow from the arch."""


def import_discriminator(path: Path, arch: BigganBase) -> tuple[BigganBase, nn.Module, list[str]]:
    """(arch with D's width, D, remarks) of a file, on the CPU in evaluation mode. arch: that of the G beside it.

    Raises ValueError, naming the file and what is wrong with it, or each property in which it doesn't fit G.
    """
    given, notes = read_state(path, WANTED, net="D")
    try:
        tensors = {name: value for name, value in given.items() if not NEEDLESS.search(name)}
        refuse_unusable(tensors)
        fitted = fit(tensors, arch)
        net = fill(fitted, tensors)
        if not is_normalised(tensors):
            notes.append("it has no spectral norm: each layer's σ is 1")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return fitted, net, notes


def fit(tensors: Mapping[str, Tensor], arch: BigganBase) -> BigganBase:
    """G's arch with the width of the D that these are, as far as names and shapes say. Raises ValueError if they are no D's, or
    those of a D that is no partner of this G: each property, with the two values."""
    if "output_layer.2.weight" in tensors:
        raise ValueError("is a generator: give it as FILE, and by --discriminator the D.pth beside it")
    first = STEM if STEM in tensors else FIRST
    if missing := unlike(tensors, ESSENTIAL | {first: 4}):
        raise ValueError(
            f"is no discriminator of BigGAN-PyTorch: {', '.join(missing)} missing or of another shape; give its D.pth"
        )
    family = "biggan-deep" if first == STEM else "biggan"
    if family != arch.family:
        raise ValueError(f"is a discriminator of {family}, and G is of {arch.family}; give the D.pth beside this G")
    differing = [
        f"{name} {told}, G's {ours}" for name, (told, ours) in compared(tensors, first, arch).items() if told != ours
    ]
    if differing:
        raise ValueError(
            f"is no discriminator for this G: {'; '.join(differing)}. One arch holds for both; give the D.pth beside this G"
        )
    width = tensors[first].shape[0] // (1 if arch.resolution in LARGE else SMALL)
    try:
        fitted = type(arch).model_validate({**arch.model_dump(), "d_width": width})
    except ValidationError as error:
        raise ValueError(f"is a discriminator that can't be built here: {reasons(error)}") from None
    _refuse_other_widths(tensors, fitted)
    return fitted


def _refuse_other_widths(tensors: Mapping[str, Tensor], arch: BigganBase) -> None:
    """Raise ValueError if the stages have other channels than our D's, rather than list each tensor."""
    last = "conv4" if isinstance(arch, BigganDeepArch) else "conv2"
    ours = [outputs for outputs, _ in _stages(arch)]
    names = [f"blocks.{stage}.0.{last}.weight" for stage in range(len(ours))]
    if unlike(tensors, dict.fromkeys(names, 4)):
        return
    widths = [len(tensors[name]) for name in names]
    if widths != ours:
        raise ValueError(
            f"is a discriminator that can't be built here: its stages have {', '.join(map(str, widths))} channels, and those of "
            f"{arch.family} at {arch.resolution} px {', '.join(map(str, ours))}; import G alone"
        )


def compared(tensors: Mapping[str, Tensor], first: str, arch: BigganBase) -> dict[str, tuple[str, str]]:
    """What names and shapes of a D say, and what G's arch says, in words. first: its first convolution's weight."""
    deep = isinstance(arch, BigganDeepArch)
    stages = 1 + max(int(name.split(".")[1]) for name in tensors if re.match(r"blocks\.\d{1,3}\.", name))
    resolution = 4 << min(stages - (not deep), 20)
    found = {
        "resolution": (f"{resolution} px", f"{arch.resolution} px"),
        "channels": (str(tensors[first].shape[1]), str(arch.channels)),
        "classes": (str(len(tensors["embed.weight"])), str(arch.classes)),
    }
    if isinstance(arch, BigganDeepArch):
        depth = sum(bool(re.fullmatch(r"blocks\.0\.\d+\.conv1\.weight", name)) for name in tensors)
        found["blocks of a stage"] = (str(depth), str(arch.blocks))
    if resolution == arch.resolution:
        gammas = (re.fullmatch(r"blocks\.(\d{1,3})\.\d+\.gamma", name) for name in tensors)
        attended = sorted(int(match[1]) for match in gammas if match)
        found["attention"] = (_pixels([_maps(arch)[i] for i in attended]), _pixels(sorted(arch.attended, reverse=True)))
    return found


def fill(arch: BigganBase, tensors: Mapping[str, Tensor]) -> nn.Module:
    """D with these weights, in evaluation mode. Raises ValueError as `filled` does."""
    family = find_family(arch.family)
    assert isinstance(family, BigganFamily)  # noqa: S101 — for the type checker
    with torch.device("meta"):
        net = type(family).discriminator(arch)
    places = _places(arch)
    names = {name: theirs(name, places) for name in net.state_dict()}
    return filled(net, names, tensors, f"the D of {arch.family} at {arch.resolution} px")


def theirs(name: str, places: Sequence[str]) -> str | None:
    """Their name of one of our D's tensors; None if they have none that is read. places: what they call each of our `blocks`."""
    if name.endswith((".v", ".sigma")):
        return None
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^blocks\.(\d+)\.", lambda found: f"{places[int(found[1])]}.", name)


def _places(arch: BigganBase) -> list[str]:
    """What they call the parts of our D's `blocks`, in order: a list of residual blocks for each stage, attention at its end."""
    deep = isinstance(arch, BigganDeepArch)
    depth = arch.blocks if isinstance(arch, BigganDeepArch) else 1
    places = ["input_conv"] if deep else []
    for stage, (_, halves) in enumerate(_stages(arch)):
        places += [f"blocks.{stage}.{i}" for i in range(depth + halves)]
    return places


def _stages(arch: BigganBase) -> tuple[tuple[int, bool], ...]:
    assert isinstance(arch, BigganArch | BigganDeepArch)  # noqa: S101 — for the type checker
    return arch.d_stages


def _maps(arch: BigganBase) -> list[int]:
    """Pixels a side of the map that each stage of D gives."""
    return [arch.resolution >> number for number in accumulate(int(halves) for _, halves in _stages(arch))]


def _pixels(sizes: Sequence[int]) -> str:
    return f"at {', '.join(map(str, sizes))} px" if sizes else "nowhere"
