"""The table of families. Importing it loads no torch; `nets` modules are imported on first use.

To add a family: a folder beside this file (its name, with `_` for `-`) with

- ``arch.py``     ``ARCH`` (a torch-free subclass of :class:`trainer.families.arch.Arch`),
- ``recipes.py``  ``RECIPES``: recipe name → function that returns a full ``JobSpec`` (torch-free),
- ``nets.py``     ``FAMILY``: an instance of :class:`trainer.families.base.Family`,

and its name in ``NAMES``. The contract tests pick it up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import TypeAdapter, ValidationError

from trainer.families.arch import Arch, CodedLatent

if TYPE_CHECKING:
    from trainer.families.base import Family
    from trainer.spec import JobSpec

NAMES: tuple[str, ...] = ("gan", "cgan", "dcgan", "bigan", "infogan", "ae", "vae", "r3gan", "biggan", "biggan-deep")

MOST_PIXELS = 512
"""Pixels a side of the largest images that are packed."""


def module(name: str, part: Literal["arch", "recipes", "nets"]) -> Any:
    """One of the modules of a family's folder, imported."""
    return import_module(f"trainer.families.{name.replace('-', '_')}.{part}")


def arch_classes() -> tuple[type[Arch], ...]:
    """The Arch class of every family, in table order. Torch-free."""
    return tuple(module(name, "arch").ARCH for name in NAMES)


def families_with(what: Literal["labels", "encoder", "codes"]) -> tuple[str, ...]:
    """Names of the families that can be conditioned on labels, have an encoder, or have latent codes. Torch-free."""
    can: dict[str, Callable[[type[Arch]], bool]] = {
        "labels": lambda arch: arch.label_use != "none",
        "encoder": lambda arch: arch.encoder,
        "codes": lambda arch: isinstance(arch.model_fields["latent"].default, CodedLatent),
    }
    return tuple(name for name, arch in zip(NAMES, arch_classes(), strict=True) if can[what](arch))


@cache
def resolutions() -> dict[int, tuple[str, ...]]:
    """Pixels a side → the families that have nets of that size; only sizes that some family has. Torch-free."""
    found: dict[int, list[str]] = {}
    for name, arch in zip(NAMES, arch_classes(), strict=True):
        for resolution in range(1, MOST_PIXELS + 1):
            if can_be(arch, resolution):
                found.setdefault(resolution, []).append(name)
    return {resolution: tuple(found[resolution]) for resolution in sorted(found)}


def can_be(arch: type[Arch], resolution: int) -> bool:
    """Whether a family has nets of so many pixels a side. Torch-free."""
    field = _resolution_of(arch)
    try:
        field.validate_python(resolution)
    except ValidationError:
        return False
    return True


@cache
def _resolution_of(arch: type[Arch]) -> TypeAdapter[Any]:
    field = arch.model_fields["resolution"]
    kind: Any = Annotated[field.annotation, *field.metadata]
    return TypeAdapter(kind)


def recipes() -> dict[str, Callable[..., JobSpec]]:
    """Every recipe by name, each a function that returns a full spec. Torch-free."""
    found: dict[str, Callable[..., JobSpec]] = {}
    for name in NAMES:
        found.update(module(name, "recipes").RECIPES)
    return found


def family(name: str) -> Family[Any]:
    """The family's nets and phases. Imports torch. Raises KeyError for a name that is not in the table."""
    if name not in NAMES:
        raise KeyError(f"no family {name!r}; families: {', '.join(NAMES)}")
    found: Family[Any] = module(name, "nets").FAMILY
    return found
