"""Generators of the authors' BigGAN-PyTorch code as packages: `agon import biggan-pytorch G_ema.pth OUT`.

The file is read as tensors alone (`weights_only`): what would run code is refused. Names and shapes must all be those of one
of their generators, BigGAN's or BigGAN-deep's (two blocks at each resolution); what differs is listed.

Their evaluation iterates a spectral norm once from the saved `u0`, ours reads u and v, so u and v are set to what that
iteration gives: the weights in use are the same. Their `stored_mean` and `stored_var` are our running statistics.

Shape legend: O rows of a weight matrix.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import normalize

from trainer.families.base import AnyFamily
from trainer.families.biggan.arch import BigganArch, BigganBase
from trainer.families.biggan.parts import BigganFamily
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.families.table import family as find_family
from trainer.nets.spectral import Spectral
from trainer.publish.card import code_version
from trainer.publish.package import assemble
from trainer.spec import Adam, Data, JobSpec, Objective

ESSENTIAL = ("linear.weight", "blocks.0.0.bn1.gain.weight", "output_layer.0.gain", "output_layer.2.weight")
DEPTH = 2
"""Blocks at each resolution of their BigGAN-deep."""
LISTED = 20
"""Differences that an error lists."""
RENAMED = (
    (r"norm\.running_(mean|var)$", r"stored_\1"),
    (r"^to_pixels\.(stored_|gain|bias)", r"output_layer.0.\1"),
    (r"^to_pixels\.conv\.", "output_layer.2."),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"blocks.\1.0.bn\2."),
    (r"^blocks\.(\d+)\.conv(\d)\.", r"blocks.\1.0.conv\2."),
    (r"^blocks\.(\d+)\.shortcut\.", r"blocks.\1.0.conv_sc."),
    (r"^(attention\.\d+)\.out\.", r"\1.o."),
    (r"\.u$", ".u0"),
    (r"\.sigma$", ".sv0"),
)
"""Our names → theirs, one after the other; attention's place follows from the depth."""


@dataclass(frozen=True)
class Imported:
    """A generator that was trained elsewhere, as `package.assemble` takes it."""

    spec: JobSpec
    family: AnyFamily
    generator: nn.Module

    def net(self, name: str) -> nn.Module:
        """The generator: there is no other net."""
        return self.generator


def import_package(path: Path, out: Path, name: str) -> Path:
    """Write the package of the generator in the file `path` to the folder `out`. name: the model's. Returns `out`.

    Raises ValueError, naming the file and what is wrong with it; TrainingError if the package does not give its images.
    """
    imported = import_generator(path, name)
    arch = imported.spec.arch
    card = (
        f"# {name}\n\nA class-conditional ({arch.classes} classes) generator of family `{arch.family}`: {arch.resolution} × "
        f"{arch.resolution} pixels, imported from `{path.name}`, a file of the authors' BigGAN-PyTorch code. On which images "
        f"and how it was trained, the file doesn't say; `spec.yaml` describes its net alone.\n\n"
        f"## Samples\n\n![samples](samples.png)\n\nImported by Agon {code_version()}.\n"
    )
    record = {"scores": {}, "provenance": {}, "lineage": {"imported": path.name, "code": code_version()}}
    classes = tuple(str(number) for number in range(arch.classes))
    return assemble(imported, out, class_names=classes, record=record, card=lambda file: _write(file, card))


def import_generator(path: Path, name: str = "imported") -> Imported:
    """The generator of a file, on the CPU in evaluation mode. Raises ValueError as `import_package` does."""
    tensors = read_tensors(path)
    try:
        arch = arch_of(tensors)
        net = fill(arch, tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    adam = Adam(beta1=0.0)
    spec = JobSpec(
        name=name, arch=arch, data=Data(url="data/unknown"), objective=Objective(loss="hinge"),
        optimizers={"G": adam, "D": adam}, ema=None,
    )  # fmt: skip
    return Imported(spec, find_family(arch.family), net)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a `.pth` file. Raises ValueError for a file that is none, or that would run code when it is read."""
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; give a G.pth or G_ema.pth of BigGAN-PyTorch") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        # torch's own message advises to read the file without this safety.
        raise ValueError(
            f"{path}: holds something else than tensors, or is damaged, and nothing but tensors is read "
            f"({type(error).__name__}); save its state dict alone with torch.save"
        ) from None
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path}: is no state dict of tensors; give a G.pth or G_ema.pth of BigGAN-PyTorch")
    return {str(name): value.float() if value.is_floating_point() else value for name, value in found.items()}


def arch_of(tensors: Mapping[str, Tensor]) -> BigganBase:
    """The arch whose G these are, as far as names and shapes say. Raises ValueError if they are no G's."""
    if missing := [name for name in ESSENTIAL if name not in tensors]:
        raise ValueError(f"is no generator of BigGAN-PyTorch: {', '.join(missing)} missing; give G.pth or G_ema.pth")
    shape = {name: tuple(tensors[name].shape) for name in (*ESSENTIAL, "shared.weight") if name in tensors}
    deep = "blocks.0.0.conv4.weight" in tensors
    depth = DEPTH if deep else 1
    stages = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}) // depth
    columns, condition = shape["linear.weight"][1], shape["blocks.0.0.bn1.gain.weight"]
    classes, shared_dim = shape.get("shared.weight", (condition[0], 128))
    skip_z = "shared.weight" in shape and condition[1] > shared_dim
    attended = [int(name.split(".")[1]) // depth for name in tensors if re.fullmatch(r"blocks\.\d+\.1\.gamma", name)]
    fields = {
        "resolution": 4 << stages,
        "channels": shape["output_layer.2.weight"][0],
        "classes": classes,
        "g_width": shape["output_layer.0.gain"][0] // {3: 4, 4: 2}.get(stages, 1),
        "attention": 8 << attended[0] if attended else None,
        "shared_embedding": "shared.weight" in shape,
        "shared_dim": shared_dim,
        "skip_z": skip_z,
    }
    dim = columns - shared_dim * skip_z if deep else columns * (stages + 1 if skip_z else 1)
    try:
        kind = BigganDeepArch if deep else BigganArch
        return kind.model_validate({**fields, "d_width": fields["g_width"], "latent": {"dim": dim}})
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors())
        raise ValueError(f"is a generator that can't be built here: {reasons}") from None


def fill(arch: BigganBase, tensors: Mapping[str, Tensor]) -> nn.Module:
    """G with these weights, in evaluation mode. Raises ValueError that lists every name and shape that differs."""
    family = find_family(arch.family)
    assert isinstance(family, BigganFamily)  # noqa: S101 — for the type checker
    with torch.device("meta"):
        net = type(family).generator(arch)
    ours = net.state_dict()
    names = {name: theirs(name, arch) for name in ours}
    expected = {
        their: (1, *ours[name].shape) if name.endswith((".u", ".sigma")) else tuple(ours[name].shape)
        for name, their in names.items()
        if their is not None
    }
    if problems := differences(expected, {name: tuple(value.shape) for name, value in tensors.items()}):
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise ValueError(f"differs from {arch.family} at {arch.resolution} px: {'; '.join(problems[:LISTED])}{more}")
    state = {
        name: tensors[their].reshape(ours[name].shape).clone() if their else torch.zeros(value.shape, dtype=value.dtype)
        for (name, their), value in zip(names.items(), ours.values(), strict=True)
    }
    net.load_state_dict(state, assign=True)
    for module in net.modules():
        if isinstance(module, Spectral):
            module.u.copy_(normalize(module.u, dim=0))
            module.iterate()
    return net.eval().requires_grad_(False)


def theirs(name: str, arch: BigganBase) -> str | None:
    """Their name of one of our tensors; None if they have none."""
    if name.endswith((".v", "num_batches_tracked")):
        return None
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    depth = DEPTH if isinstance(arch, BigganDeepArch) else 1
    return re.sub(r"^attention\.(\d+)\.", lambda found: f"blocks.{int(found[1]) * depth + depth - 1}.1.", name)


def differences(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is missing, unknown, or of another shape."""
    found = [f"{name} is missing" for name in expected if name not in given]
    found += [f"{name} is not known" for name in given if name not in expected]
    shared = [name for name in expected if name in given and expected[name] != given[name]]
    return found + [f"{name} is {list(given[name])}, not {list(expected[name])}" for name in shared]


def _write(path: Path, text: str) -> None:
    path.write_text(text)
