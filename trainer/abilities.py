"""What a published generator can be asked for. A version's tag says it, so that whoever offers something need not load the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict

from trainer.families.arch import Arch
from trainer.schema import Frozen

TAG = "agon.abilities"
MOST_NAMES = 20_000
"""Characters of the classes' names in a tag; more are left out."""


class AbleCode(Frozen):
    """A latent code; `size`: of a categorical one, how many values it takes."""

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: Literal["categorical", "continuous"]
    size: int


class Abilities(Frozen):
    """Of one version. What a later version of ours adds is not read."""

    model_config = ConfigDict(extra="ignore")

    family: str
    resolution: int
    channels: int
    classes: int = 0
    """0: it is asked without a class."""
    class_names: tuple[str, ...] = ()
    """() where they are not known here: a class is then asked for by its number."""
    truncation: bool = False
    """Whether latents can be truncated: those of a normal prior."""
    codes: tuple[AbleCode, ...] = ()
    encoder: bool = False
    """Whether it takes images."""

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Abilities:
        """Of a package's `config.json`."""
        return cls(
            family=config["family"],
            resolution=config["resolution"],
            channels=config["channels"],
            classes=config["classes"],
            class_names=_names([str(name) for name in config.get("class_names", ())]),
            truncation=config["latent"]["distribution"] == "normal",
            codes=tuple(AbleCode.model_validate(code) for code in config.get("codes", ())),
            encoder=config.get("encoder", False),
        )

    @classmethod
    def of_arch(cls, arch: Arch, class_names: Sequence[str], *, encoder: bool) -> Abilities:
        """Of what a job trains. encoder: whether its package holds one."""
        return cls(
            family=arch.family,
            resolution=arch.resolution,
            channels=arch.channels,
            classes=arch.classes,
            class_names=_names(class_names) if arch.conditional else (),
            truncation=arch.latent.distribution == "normal",
            codes=tuple(AbleCode(name=code.name, kind=code.kind, size=code.size) for code in arch.latent.codes),
            encoder=encoder,
        )

    def tag(self) -> str:
        """As a version's tag has it."""
        return self.model_dump_json(exclude_defaults=True)


def _names(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names) if sum(map(len, names)) <= MOST_NAMES else ()
