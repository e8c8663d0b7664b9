"""`dataset.json`: what a dataset is. Torch-free; the control plane reads it too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from trainer.access import Access
from trainer.data.fetch import PATIENT, Patience, read_file
from trainer.data.locate import ANYWHERE, Location, locate
from trainer.errors import BadDataError
from trainer.families.table import can_be
from trainer.schema import Frozen
from trainer.spec import FieldError, JobSpec
from trainer.spec.sampling import class_weights, wrong_weights

MANIFEST = "dataset.json"
MAX_MANIFEST = 64 << 20
HASH = r"^[0-9a-f]{64}$"
LEAST_IMAGES: Mapping[str, int] = {"fid": 2, "kid": 2, "precision": 4, "recall": 4}
"""Real images that a metric can't do without: for a covariance two, for a third neighbour four."""


class Shard(Frozen):
    """One WebDataset tar."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.tar$")
    """File name beside `dataset.json`; never a path."""
    samples: int = Field(ge=1, le=100_000_000)
    size: int = Field(ge=1)
    """Bytes."""
    sha256: str = Field(pattern=HASH)


class DatasetManifest(Frozen):
    """Facts about a packed dataset. Validation proves them consistent, and the digest right."""

    format: Literal[1] = 1
    name: str = Field(min_length=1, max_length=200)
    resolution: int = Field(ge=1, le=4096)
    """Height and width in pixels."""
    channels: Literal[1, 3]
    """1 grey, 3 RGB."""
    classes: tuple[str, ...]
    """Class names in label order; empty for images without labels."""
    class_counts: tuple[int, ...]
    """Images of each class."""
    samples: int = Field(ge=1)
    shards: tuple[Shard, ...] = Field(min_length=1)
    digest: str = Field(pattern=HASH)
    """See :func:`dataset_digest`."""

    @model_validator(mode="after")
    def _consistent(self) -> DatasetManifest:
        if len({shard.name for shard in self.shards}) != len(self.shards):
            raise ValueError("two shards have the same name")
        if sum(shard.samples for shard in self.shards) != self.samples:
            raise ValueError(f"samples ({self.samples}) is not the sum over the shards")
        if len(self.class_counts) != len(self.classes) or any(count < 0 for count in self.class_counts):
            raise ValueError("class_counts doesn't fit classes")
        if self.classes and sum(self.class_counts) != self.samples:
            raise ValueError(f"class_counts doesn't sum to samples ({self.samples})")
        if self.digest != dataset_digest(self.resolution, self.channels, self.classes, self.class_counts, self.shards):
            raise ValueError("digest doesn't fit the facts and the shards' hashes: the file was altered")
        return self


_FIELDS = frozenset((*DatasetManifest.model_fields, *Shard.model_fields))


def dataset_digest(
    resolution: int, channels: int, classes: Sequence[str], class_counts: Sequence[int], shards: Sequence[Shard]
) -> str:
    """SHA-256 (hex) of canonical JSON of the facts and, in order, each shard's samples, size and SHA-256.

    The dataset's name and the shards' file names are not part of it: renaming changes no training.
    """
    facts = {
        "format": 1,
        "resolution": resolution,
        "channels": channels,
        "classes": list(classes),
        "class_counts": list(class_counts),
        "shards": [[shard.samples, shard.size, shard.sha256] for shard in shards],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_manifest(url: str, access: Access = ANYWHERE, patience: Patience = PATIENT) -> DatasetManifest:
    """The manifest of the dataset at `url` (a folder or its dataset.json; not `builtin:`).

    Raises BadDataError if it can't be read, isn't valid, or lies where `access` doesn't lead; DataAwayError if whoever has
    it is away or too slow.
    """
    return manifest_at(locate(url, access), patience)


def manifest_at(location: Location, patience: Patience = PATIENT) -> DatasetManifest:
    """As :func:`read_manifest`, for a folder that was located."""
    content = read_file(location, MANIFEST, MAX_MANIFEST, patience)
    try:
        return DatasetManifest.model_validate_json(content)
    except ValidationError as error:
        faults = "; ".join(_faults(error)) or "is no dataset.json of a packed dataset"
        # Without its cause: that quotes the content, which may be anything that lies at the URL.
        raise BadDataError(
            f"{location.describe(MANIFEST)}: {faults}; pack the data again with `agon data pack`"
        ) from None


def _faults(error: ValidationError) -> Iterator[str]:
    """The first wrong fields of what is a manifest; never what it holds, nor names that only it gives. Empty for anything else."""
    items = error.errors(include_url=False, include_input=False, include_context=False)
    missing = sum(item["type"] == "missing" and len(item["loc"]) == 1 for item in items)
    if any(item["type"] == "json_invalid" for item in items) or missing > len(DatasetManifest.model_fields) // 2:
        return
    for item in items[:5]:
        loc = ".".join(str(part) for part in item["loc"] if isinstance(part, int) or part in _FIELDS)
        known = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
        message = "has a field that this version doesn't know" if item["type"] == "extra_forbidden" else known
        yield f"{loc or 'the file'}: {message}"


def mismatches(manifest: DatasetManifest, spec: JobSpec) -> list[FieldError]:
    """Every field of the spec that this dataset does not fit; empty if it does."""
    arch, found = spec.arch, []
    if arch.resolution != manifest.resolution:
        again = f"pack the data again with --resolution {arch.resolution}"
        fix = f"use {manifest.resolution}, or {again}" if can_be(type(arch), manifest.resolution) else again
        found.append(_mismatch("arch.resolution", arch.resolution, f"the data has {manifest.resolution} px", fix))
    if arch.channels != manifest.channels:
        fix = f"use {manifest.channels}, or pack the data again with --channels {arch.channels}"
        found.append(_mismatch("arch.channels", arch.channels, f"the data has {manifest.channels}", fix))
    if arch.classes not in (0, len(manifest.classes)):
        message = f"the data has {len(manifest.classes)} classes" if manifest.classes else "the data has no labels"
        found.append(_mismatch("arch.classes", arch.classes, message, _labels_fix(manifest, spec)))
    if spec.data.held_out >= manifest.samples:
        message = f"the data has {manifest.samples} images, so none would be left to train on"
        found.append(_mismatch("data.held_out", spec.data.held_out, message, "hold out a few percent of them"))
    found += wrong_weights(spec.data, manifest.classes)
    if spec.data.sampling != "natural" and manifest.classes and not found:
        weights = class_weights(spec.data, manifest.classes)
        if not any(weight and count for weight, count in zip(weights, manifest.class_counts, strict=True)):
            message, fix = "leave no class that has images", "give one of them a weight above 0"
            found.append(_mismatch("data.weights", spec.data.model_dump(mode="json")["weights"], message, fix))
    scarce = [metric for metric in spec.evaluation.metrics if manifest.samples < LEAST_IMAGES.get(metric, 1)]
    if scarce:
        needed = max(LEAST_IMAGES[metric] for metric in scarce)
        fix = f"leave out {', '.join(scarce)}, or use data of {needed} or more images"
        found.append(_mismatch("evaluation.metrics", scarce, f"the data has too few images: {manifest.samples}", fix))
    if spec.data.digest not in (None, manifest.digest):
        fix = "use the data that the spec was written for, or null to accept what is there"
        found.append(_mismatch("data.digest", spec.data.digest, f"the data's digest is {manifest.digest}", fix))
    return found


def _labels_fix(manifest: DatasetManifest, spec: JobSpec) -> str:
    """What to do where the data hasn't the classes that the spec says."""
    if not manifest.classes:
        fix = "pack images that lie in a folder for each class"
        return fix if spec.arch.label_use == "required" else f"use 0, or {fix}"
    return f"use {len(manifest.classes)}" + ("" if spec.arch.label_use == "required" else ", or 0 for no labels")


def _mismatch(path: str, value: object, message: str, fix: str) -> FieldError:
    return FieldError(path=path, message=message, value=json.dumps(value), fix=fix)
