"""What a training computes, apart from how long and where: what a checkpoint can't be carried across."""

from __future__ import annotations

from typing import Any

from trainer.spec.job import JobSpec


def identity(spec: JobSpec) -> dict[str, Any]:
    """The fields that decide what a training computes, by path. Length, cadences, resources, micro-batches and what is
    reported, kept or published may change between two starts; so may the place of the data, but not the data."""
    raw = spec.model_dump(mode="json")
    chosen = {key: raw[key] for key in ("spec_version", "arch", "objective", "optimizers", "ema")}
    chosen["train"] = {key: raw["train"][key] for key in ("batch", "precision", "seed")}
    chosen["data"] = {key: raw["data"][key] for key in ("lanes", "sampling", "weights", "mirror", "held_out", "digest")}
    return dict(_flat(chosen, ""))


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for key, child in value.items() for pair in _flat(child, f"{path}.{key}" if path else key)]
    return [(path, value)]
