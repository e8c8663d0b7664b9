"""A finished generator as a folder that runs where this project isn't installed.

MLmodel · requirements.txt · …   written by MLflow: the folder is an MLflow model ("models from code")
loader.py · generator.py · …     the code, self-contained
config.json                      arch, pixel range, latent prior and codes, classes and their names
program.pt2 · model.safetensors  the net as a torch.export program, and its weights (they lie only here)
standing.safetensors             batch norm's statistics at several truncations, with `evaluation.standing_batches`
encoder.pt2 · .safetensors       the same of the encoder, where the family has one and `publish.encoder` isn't false
discriminator.safetensors        weights of D, of an imported model that has it (`discriminator.load`)
card.md · samples.png            what it is, how good, where from
spec.yaml · scores.json          the job's spec; scores, their provenance, lineage
checksums.json                   SHA-256 of all the others; written last
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from trainer import draws
from trainer.checksums import write_checksums
from trainer.data.stream import Dataset
from trainer.engine.pixels import from_bytes
from trainer.engine.sampling import sample
from trainer.engine.standing import standing, stands, statistics
from trainer.engine.state import TrainState
from trainer.errors import PublishError
from trainer.families.arch import Arch
from trainer.families.base import AnyFamily
from trainer.images import grid, save_png
from trainer.publish import discriminator as discriminators
from trainer.publish import portable
from trainer.publish.card import Lineage, write_card
from trainer.publish.mlflow_model import REQUIREMENTS, save_as_mlflow_model
from trainer.publish.portable.generator import FORMAT, Generator
from trainer.publish.program import Inputs, check_program, encoder_inputs, export_program, generator_inputs
from trainer.spec import JobSpec, dump_spec

CODE = Path(portable.__file__).parent
PARTS = (*(CODE / name for name in ("generator.py", "parameters.py", "nets.py")), Path(draws.__file__))
"""The code beside the loader, which MLflow puts there."""
CELLS = 64
THRESHOLDS: tuple[float | None, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, None)
"""Truncations that a package has statistics of batch norm for; between two of them they are interpolated."""
CHECKED_TRUNCATION = 0.5
ENCODER_TOLERANCE = 1e-4


def build_package(
    state: TrainState,
    out: Path,
    *,
    dataset: Dataset,
    scores: Mapping[str, float],
    provenance: Mapping[str, Any],
    lineage: Lineage,
) -> Path:
    """Write the package of a training's `state.generator` to `out`, which is replaced. Returns `out`.

    Raises PublishError if the package, read back, does not give the net's images.
    """
    spec, manifest = state.spec, dataset.manifest

    def card(path: Path) -> None:
        write_card(path, spec, manifest, scores, provenance, lineage, encoder=has_encoder(spec))

    record = {"scores": dict(scores), "provenance": dict(provenance), "lineage": lineage.as_dict()}
    return assemble(state, out, class_names=manifest.classes, record=record, card=card)


class Trained(Protocol):
    """What is packaged: a generator (and an encoder, `net("E")`) of a family, and the spec that it was trained by."""

    @property
    def spec(self) -> JobSpec: ...
    @property
    def family(self) -> AnyFamily: ...
    @property
    def generator(self) -> nn.Module: ...
    def net(self, name: str) -> nn.Module: ...


def assemble(
    state: Trained,
    out: Path,
    *,
    class_names: tuple[str, ...],
    record: Mapping[str, Any],
    card: Callable[[Path], None],
    discriminator: nn.Module | None = None,
) -> Path:
    """Write a package to `out`, which is replaced. record: `scores.json`. card: writes `card.md`. Returns `out`.

    discriminator: a D of the family and arch that the package is to hold.
    Before it is put in place, the package is loaded with its own code and must give the net's images.
    Raises PublishError if it doesn't.
    """
    spec = state.spec
    net = _bare(standing(state.family, spec, state.generator))
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        save_as_mlflow_model(aside, spec, CODE / "loader.py")
        for part in PARTS:
            shutil.copyfile(part, aside / part.name)
        kept = {} if discriminator is None else {"discriminator": discriminators.FILE}
        config = describe(spec, class_names) | {"standing": _save_standing(state, aside)} | kept
        (aside / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        if discriminator is not None:
            discriminators.save(_bare(discriminator), aside)
        _save_net(net, aside, "program", "model", generator_inputs(state.family, spec.arch))
        encoder = _bare(state.net("E")) if config["encoder"] else None
        if encoder is not None:
            _save_net(encoder, aside, "encoder", "encoder", encoder_inputs(spec.arch))
        generator = Generator(aside)
        check_program(net, generator.forward, generator_inputs(state.family, spec.arch), spec.arch.family)
        _check_images(generator, net, state)
        if config["standing"]:
            truncated = _bare(standing(state.family, spec, state.generator, CHECKED_TRUNCATION))
            _check_images(generator, truncated, state, CHECKED_TRUNCATION)
        if encoder is not None:
            _check_codes(generator, encoder, spec.arch)
        picture(generator, aside / "samples.png")
        (aside / "spec.yaml").write_text(dump_spec(spec))
        (aside / "scores.json").write_text(json.dumps(record, indent=2) + "\n")
        card(aside / "card.md")
        write_checksums(aside)
        shutil.rmtree(out, ignore_errors=True)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return out


def describe(spec: JobSpec, class_names: tuple[str, ...]) -> dict[str, Any]:
    """`config.json`: what the portable code must know."""
    arch = spec.arch
    return {
        "format": FORMAT,
        "draws": draws.SCHEME,
        "name": spec.name,
        "family": arch.family,
        "resolution": arch.resolution,
        "channels": arch.channels,
        "classes": arch.classes,
        "class_names": list(class_names) if arch.conditional else [],
        "pixel_range": list(arch.pixel_range),
        "latent": arch.latent.model_dump(),
        "width": arch.latent.width,
        "codes": [asdict(code) for code in arch.latent.codes],
        "encoder": has_encoder(spec),
        "made_with": {name: version(name) for name in REQUIREMENTS},
        "arch": arch.model_dump(mode="json"),
    }


def has_encoder(spec: JobSpec) -> bool:
    """Whether the package holds an encoder: the family has one, and `publish.encoder` doesn't say no."""
    return spec.arch.encoder and not (spec.publish and spec.publish.encoder is False)


def picture(generator: Generator, path: Path) -> None:
    """A sample grid of seed 0; a row is a class, or a value of the first categorical code, where there are at most 64."""
    config = generator.config
    coded = [code for code in config["codes"] if code["kind"] == "categorical" and code["size"] <= CELLS]
    rows = config["classes"] if 0 < config["classes"] <= CELLS else coded[0]["size"] if coded else 0
    columns = max(1, min(8, CELLS // rows)) if rows else 8
    each = np.repeat(np.arange(rows), columns)
    if 0 < config["classes"] <= CELLS:
        images = generator.sample(labels=each)
    elif coded:
        images = generator.sample(codes={coded[0]["name"]: each})
    else:
        images = generator.sample(n=CELLS)
    save_png(path, grid(images, columns))


def _bare(net: nn.Module) -> nn.Module:
    """A copy for the package: on the CPU, in float32 and evaluation mode, without gradients."""
    return copy.deepcopy(net).cpu().float().eval().requires_grad_(False)


def _save_net(net: nn.Module, folder: Path, program: str, weights: str, inputs: Inputs) -> None:
    tensors = {name: weight.clone().contiguous() for name, weight in net.state_dict().items()}
    save_file(tensors, folder / f"{weights}.safetensors")
    export_program(net, inputs, folder / f"{program}.pt2")


def _check_codes(generator: Generator, encoder: nn.Module, arch: Arch) -> None:
    """The package must encode as the net does."""
    source = np.random.default_rng(0)
    images = source.integers(0, 256, (3, arch.resolution, arch.resolution, arch.channels), dtype=np.uint8)
    x = from_bytes(torch.from_numpy(images).permute(0, 3, 1, 2), arch.pixel_range)
    with torch.inference_mode():
        expected = encoder(x).numpy()
    off = float(np.abs(expected - generator.encode(images)).max())
    if off > ENCODER_TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise PublishError(
            f"the package of family {arch.family} encodes otherwise than the net (by up to "
            f"{off:.2g}); it is not published. Some operation of E depends on data or batch size when it is traced"
        )


def _save_standing(state: Trained, folder: Path) -> list[float | None]:
    """Write the statistics at each threshold, tables [thresholds, channels]. Returns the thresholds; [] if there are none."""
    spec = state.spec
    if not stands(spec, state.generator) or spec.arch.latent.distribution != "normal":
        return []
    found = [statistics(_bare(standing(state.family, spec, state.generator, limit))) for limit in THRESHOLDS]
    save_file({name: torch.stack([at[name] for at in found]) for name in found[0]}, folder / "standing.safetensors")
    return list(THRESHOLDS)


def _check_images(generator: Generator, net: nn.Module, state: Trained, truncation: float | None = None) -> None:
    """The package must sample as the engine does, latents included; a pixel may differ by the rounding of one level."""
    ours = sample(state.family, state.spec.arch, net, n=8, seed=0, truncation=truncation)
    theirs = generator.sample(n=8, seed=0, truncation=truncation)
    off = int(np.abs(ours.astype(np.int16) - theirs).max())
    if off > 1:
        raise PublishError(
            f"the package of family {state.spec.arch.family} samples other images than the engine (pixels differ by up "
            f"to {off}); it is not published. Does the family draw latents that config.json doesn't describe?"
        )
