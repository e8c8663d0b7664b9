"""Generators of the authors' BigGAN-PyTorch code as packages: `agon import biggan-pytorch G_ema.pth OUT`.

Names and shapes must all be those of one of their generators, BigGAN's or BigGAN-deep's; what differs is listed. Taken is what their
code writes: any of its batch norms (plain, `--mybn` with its standing sums, `--cross_replica`), G with or without spectral norm and
with any number of tracked singular values, attention at several resolutions, any depth of BigGAN-deep that their code can run, and
what their converter makes of the TF-Hub models.

Their `stored_mean` and `stored_var` are our running statistics. The D beside G is kept in the package where it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from trainer.families.base import AnyFamily
from trainer.families.biggan.arch import LARGE, SMALL, BigganArch, BigganBase
from trainer.families.biggan.parts import BigganFamily
from trainer.families.biggan_deep.arch import BigganDeepArch
from trainer.families.table import family as find_family
from trainer.publish.biggan_discriminator import import_discriminator
from trainer.publish.biggan_weights import LISTED, NEEDLESS, filled, is_normalised, reasons, unlike
from trainer.publish.card import code_version
from trainer.publish.discriminator import FILE
from trainer.publish.package import assemble
from trainer.publish.state_dicts import State, read_state, refuse_unusable
from trainer.spec import Adam, Data, JobSpec, Objective

WANTED = "a G.pth or G_ema.pth of BigGAN-PyTorch"
ESSENTIAL = {
    "linear.weight": 2, "blocks.0.0.bn1.gain.weight": 2, "output_layer.0.gain": 1, "output_layer.2.weight": 4
}  # fmt: skip
"""Tensors that say which generator it is, and their dimensions."""
NORM_EPS, HUB_NORM_EPS = 1e-5, 1e-4
"""What their conditional norms add to the variance: by default, and in what converter.py makes of the TF-Hub models."""
RENAMED = (
    (r"norm\.running_(mean|var)$", r"stored_\1"),
    (r"^to_pixels\.(stored_|gain|bias)", r"output_layer.0.\1"),
    (r"^to_pixels\.conv\.", "output_layer.2."),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"blocks.\1.0.bn\2."),
    (r"^blocks\.(\d+)\.conv(\d)\.", r"blocks.\1.0.conv\2."),
    (r"^blocks\.(\d+)\.shortcut\.", r"blocks.\1.0.conv_sc."),
    (r"^(attention\.\d+)\.out\.", r"\1.o."),
    (r"\.u$", ".u0"),
)
"""Our names → theirs, one after the other; attention's place follows from the depth."""


@dataclass(frozen=True)
class Imported:
    """A generator that was trained elsewhere, as `package.assemble` takes it."""

    spec: JobSpec
    family: AnyFamily
    generator: nn.Module
    notes: tuple[str, ...] = ()
    """What was taken for granted or changed on the way, for a person."""
    discriminator: nn.Module | None = None

    def net(self, name: str) -> nn.Module:
        """The generator: no other net draws."""
        return self.generator


def import_package(
    path: Path, out: Path, name: str, norm_eps: float | None = None, discriminator: Path | None = None
) -> tuple[Path, tuple[str, ...]]:
    """Write the package of the generator in the file `path` to the folder `out`. name: the model's. Returns `out`, and remarks.

    norm_eps: the file's `--BN_eps`; None: theirs by default, or that of the TF-Hub models for what their converter wrote.
    discriminator: the file of the D beside G, which the package is to hold, too; None: it holds none.
    Raises ValueError, naming the file and what is wrong with it; TrainingError if the package does not give its images.
    """
    imported = import_generator(path, name, norm_eps)
    lineage: dict[str, Any] = {"imported": path.name}
    if discriminator is not None:
        imported = with_discriminator(imported, discriminator)
        lineage["discriminator"] = discriminator.name
    lineage |= {"notes": list(imported.notes), "code": code_version()}
    record = {"scores": {}, "provenance": {}, "lineage": lineage}
    classes = tuple(str(number) for number in range(imported.spec.arch.classes))
    card = _card(imported, path, discriminator)
    made = assemble(
        imported, out, class_names=classes, record=record, card=lambda file: _write(file, card),
        discriminator=imported.discriminator,
    )  # fmt: skip
    return made, imported.notes


def _card(imported: Imported, path: Path, discriminator: Path | None) -> str:
    arch, name = imported.spec.arch, imported.spec.name
    remarks = "".join(f"- {note}\n" for note in imported.notes)
    beside = (
        f"## Discriminator\n\n`{FILE}` holds the weights of D, from `{discriminator.name}`: "
        "`trainer.publish.discriminator.load(FOLDER)` builds it. Nothing here draws with it.\n\n"
        if discriminator is not None
        else ""
    )
    return (
        f"# {name}\n\nA class-conditional ({arch.classes} classes) generator of family `{arch.family}`: {arch.resolution} × "
        f"{arch.resolution} pixels, imported from `{path.name}`, a file of the authors' BigGAN-PyTorch code. On which images "
        f"and how it was trained, the file doesn't say; `spec.yaml` describes its nets alone.\n\n{remarks}\n"
        f"## Samples\n\n![samples](samples.png)\n\n{beside}Imported by Agon {code_version()}.\n"
    )


def with_discriminator(imported: Imported, path: Path) -> Imported:
    """With the D of a file, whose width the arch then has. Raises ValueError as `import_discriminator` does."""
    assert isinstance(imported.spec.arch, BigganBase)  # noqa: S101 — for the type checker
    arch, net, notes = import_discriminator(path, imported.spec.arch)
    notes = [*imported.notes, *(f"D: {note}" for note in notes)]
    return replace(
        imported, spec=imported.spec.model_copy(update={"arch": arch}), discriminator=net, notes=tuple(notes)
    )


def import_generator(path: Path, name: str = "imported", norm_eps: float | None = None) -> Imported:
    """The generator of a file, on the CPU in evaluation mode. Raises ValueError as `import_package` does."""
    given, notes = read_state(path, WANTED)
    try:
        tensors = canonical(given)
        refuse_unusable(tensors)
        hub = is_of_hub(given)
        if hub and norm_eps is None:
            notes.append(f"a TF-Hub model by their converter (it has no sv0), so norm_eps is {HUB_NORM_EPS:g}")
        if not is_normalised(tensors):
            notes.append("its G has no spectral norm: each layer's σ is 1")
        arch = arch_of(tensors, norm_eps or (HUB_NORM_EPS if hub else NORM_EPS))
        net = fill(arch, tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    adam = Adam(beta1=0.0)
    spec = JobSpec(
        name=name, arch=arch, data=Data(url="data/unknown"), objective=Objective(loss="hinge"),
        optimizers={"G": adam, "D": adam}, ema=None,
    )  # fmt: skip
    return Imported(spec, find_family(arch.family), net, tuple(notes))


def canonical(given: State) -> State:
    """As their plain batch norm writes it: `stored_mean` and `stored_var` of each norm itself, and nothing that evaluation
    doesn't read. Sums of `--mybn`'s standing statistics are divided by their count, as it does when it samples with them.

    Raises ValueError for a variance below 0.
    """
    found: State = {}
    for name, value in given.items():
        if NEEDLESS.search(name):
            continue
        inner = re.fullmatch(r"(.*(?:\.bn\d|output_layer\.0))\.bn\.(?:stored|running)_(mean|var)", name)
        if inner is None:
            found[name] = value
            continue
        count = given.get(f"{inner[1]}.bn.accumulation_counter")
        summed = count is not None and float(count) > 0
        found[f"{inner[1]}.stored_{inner[2]}"] = value / count if count is not None and summed else value
    for name, value in found.items():
        if name.endswith("stored_var") and bool((value < 0).any()):
            least = value.min().item()
            raise ValueError(
                f"{name} holds a negative variance ({least:.3g}): the file is damaged or its net was edited; give another"
            )
    return found


def is_of_hub(given: Mapping[str, Tensor]) -> bool:
    """Whether their converter made it of a TF-Hub model: it writes the vectors of the spectral norms, and no singular values."""
    return is_normalised(given) and not any(name.endswith(".sv0") for name in given)


def arch_of(tensors: Mapping[str, Tensor], norm_eps: float = NORM_EPS) -> BigganBase:
    """The arch whose G these are, as far as names and shapes say. Raises ValueError if they are no G's."""
    if "embed.weight" in tensors and "linear.weight" in tensors:
        raise ValueError(
            "is a discriminator: its images come from the generator beside it; give G_ema.pth or G.pth as FILE, "
            "and this one by --discriminator"
        )
    if missing := unlike(tensors, ESSENTIAL | ({"shared.weight": 2} if "shared.weight" in tensors else {})):
        raise ValueError(
            f"is no generator of BigGAN-PyTorch: {', '.join(missing)} missing or of another shape; give G.pth or G_ema.pth"
        )
    shape = {name: tuple(tensors[name].shape) for name in (*ESSENTIAL, "shared.weight") if name in tensors}
    deep = "blocks.0.0.conv4.weight" in tensors
    stages, depth = layout(tensors) if deep else (_blocks(tensors), 1)
    columns, condition = shape["linear.weight"][1], shape["blocks.0.0.bn1.gain.weight"]
    classes, shared_dim = shape.get("shared.weight", (condition[0], 128))
    skip_z = "shared.weight" in shape and condition[1] > shared_dim
    gammas = (re.fullmatch(r"blocks\.(\d{1,3})\.1\.gamma", name) for name in tensors)
    attended = sorted(8 << int(found[1]) // depth for found in gammas if found)
    fields: dict[str, Any] = {
        "resolution": 4 << stages,
        "channels": shape["output_layer.2.weight"][0],
        "classes": classes,
        "g_width": shape["output_layer.0.gain"][0] // {3: 4, 4: 2}.get(stages, 1),
        "attention": attended if len(attended) > 1 else attended[0] if attended else None,
        "shared_embedding": "shared.weight" in shape,
        "shared_dim": shared_dim,
        "skip_z": skip_z,
        "norm_eps": norm_eps,
    }
    dim = columns - shared_dim * skip_z if deep else columns * (stages + 1 if skip_z else 1)
    kind: type[BigganBase] = BigganDeepArch if deep else BigganArch
    if deep:
        fields["blocks"] = depth
    try:
        return kind.model_validate({**fields, "d_width": fields["g_width"], "latent": {"dim": dim}})
    except ValidationError as error:
        raise ValueError(f"is a generator that can't be built here: {reasons(error)}") from None


def layout(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """(stages, blocks of each stage) of a BigGAN-deep, of which the names tell the product alone: those by whose table of
    channels the blocks have the inputs that they have. Raises ValueError if there are none."""
    blocks = _blocks(tensors)
    norms = [tensors.get(f"blocks.{i}.0.bn1.stored_mean") for i in range(blocks)]
    inputs = [0 if norm is None else norm.numel() for norm in norms]
    for stages in (3, *(len(widths) for widths in LARGE.values())):
        widths = {len(widths): widths for widths in LARGE.values()}.get(stages, (SMALL,) * stages)
        depth, rest = divmod(blocks, stages)
        unit = inputs[0] // widths[0]
        if not rest and inputs == [unit * width for width in widths for _ in range(depth)]:
            return stages, depth
    raise ValueError(
        f"is no BigGAN-deep of a known size: its {blocks} blocks take {', '.join(map(str, inputs[:LISTED]))} channels, which is "
        "none of the authors' tables at 32 to 512 px"
    )


def _blocks(tensors: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})


def fill(arch: BigganBase, tensors: Mapping[str, Tensor]) -> nn.Module:
    """G with these weights, in evaluation mode. Raises ValueError as `filled` does."""
    family = find_family(arch.family)
    assert isinstance(family, BigganFamily)  # noqa: S101 — for the type checker
    with torch.device("meta"):
        net = type(family).generator(arch)
    names = {name: theirs(name, arch) for name in net.state_dict()}
    return filled(net, names, tensors, f"{arch.family} at {arch.resolution} px")


def theirs(name: str, arch: BigganBase) -> str | None:
    """Their name of one of our tensors; None if they have none that is read."""
    if name.endswith((".v", ".sigma", "num_batches_tracked")):
        return None
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    depth = arch.blocks if isinstance(arch, BigganDeepArch) else 1
    return re.sub(r"^attention\.(\d+)\.", lambda found: f"blocks.{int(found[1]) * depth + depth - 1}.1.", name)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
