"""Feature extractors: the dataset's own classifier by default, or a TorchScript or `pt2` file that the user gives.

A user's file is a program, and running it is trusting it. Neither kind is Python or a Python pickle, though: TorchScript
holds its own language and tensors, read by torch's C++ unpickler, and a `pt2` is a graph of torch operators. A `pt2`
that carries a pickle in one of its optional parts is refused.

Shape legend: B batch, C channels, H height, W width, F features.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock
from torch import Tensor

from trainer.access import Access
from trainer.data.fetch import chunks, retrying
from trainer.data.locate import ANYWHERE, locate_file
from trainer.data.stream import Dataset
from trainer.engine.distributed import Distributed
from trainer.errors import BadDataError, BadSpecError, ClusterError
from trainer.evaluate.classifier import classifier_extractor
from trainer.evaluate.files import file_digest, replace_atomically
from trainer.spec import Evaluation

MAX_EXTRACTOR = 8 << 30
MOST_TEXT = 64 << 20
"""Bytes of a part of a program's archive that is looked through: code, descriptions, sample inputs."""


class Extractor(Protocol):
    """Maps images to features and says what it is, for the provenance of scores."""

    @property
    def name(self) -> str:
        """`classifier`, `rotation-classifier`, or the user's file name."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of its file."""
        ...

    @property
    def resizer(self) -> str:
        """What was done to the images' size before the net saw them."""
        ...

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """uint8 images BCHW → float32 features [B, F] on the CPU."""
        ...


@dataclass(frozen=True)
class FileExtractor:
    """A user's net: takes float32 images [B, 3, H, W] in [0, 255] (grey is repeated), gives features [B, F]."""

    name: str
    digest: str
    net: Callable[[Tensor], Any]
    device: torch.device
    resizer: str = "extractor's own"

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """See :class:`Extractor`. Raises BadSpecError if the net fails, or gives another shape, NaN or infinity."""
        features = self.probe(images_BCHW)
        if bad := int((~features.isfinite()).any(dim=1).sum()):
            raise BadSpecError(
                f"evaluation.extractor: {self.name} gives NaN or infinity for {bad} of {len(features)} images, so no score can "
                "be told; use one that gives finite features for every image, also for a black or constant one"
            )
        return features

    @torch.inference_mode()
    def probe(self, images_BCHW: Tensor) -> Tensor:
        """Its features of these images, whatever they are."""
        x = images_BCHW.to(self.device).float().expand(-1, 3, -1, -1)
        try:
            features = self.net(x)
        except Exception as error:  # a program can fail in any way; exported ones assert what they were traced with
            raise BadSpecError(f"evaluation.extractor: {self.name} failed on {list(x.shape)}: {error}") from error
        good = (
            isinstance(features, Tensor) and features.ndim in (2, 4) and features.numel() == len(x) * features.shape[1]
        )
        if not good:
            shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise BadSpecError(
                f"evaluation.extractor: {self.name} gives {shape} for {len(x)} images; it must give features [B, F]"
            )
        flat: Tensor = features.flatten(1).float().cpu()
        return flat


def extractor(
    evaluation: Evaluation, dataset: Dataset, cache_dir: Path, distributed: Distributed, access: Access = ANYWHERE
) -> Extractor:
    """The extractor that the spec names, on this rank's device. All ranks must call it.

    `access`: where a user's file may lie. Raises BadSpecError for a file that can't be read or used, DataAwayError for one
    that can't be reached, ClusterError if the ranks ended up with different extractors.
    """
    with distributed.main_first():
        if evaluation.extractor == "classifier":
            found: Extractor = classifier_extractor(dataset, cache_dir, distributed.device)
        else:
            found = own = file_extractor(evaluation.extractor, cache_dir, distributed.device, access)
            for batch in (2, 3):  # fails now rather than after training, and tells a batch size that is baked in
                own.probe(
                    torch.zeros(batch, dataset.manifest.channels, *[dataset.manifest.resolution] * 2, dtype=torch.uint8)
                )
    digest = torch.tensor([int(found.digest[:15], 16)], device=distributed.device)
    if len(set(distributed.gather(digest).tolist())) > 1:
        raise ClusterError(
            "the workers' feature extractors differ; AGON_CACHE_DIR must be one folder that all nodes share"
        )
    return found


def file_extractor(url: str, cache_dir: Path, device: torch.device, access: Access = ANYWHERE) -> FileExtractor:
    """The net in the file at a path or http(s)://, s3:// or gs:// URL. Raises BadSpecError if it does not load, DataAwayError if
    it can't be reached."""
    try:
        path = _local_copy(url, cache_dir, access)
    except BadDataError as error:
        prefix = f"evaluation.extractor {url!r}: "
        raise BadSpecError(prefix + str(error).removeprefix(prefix)) from error
    try:
        net = _load_pt2(path, device) if is_pt2(path) else _load_torchscript(path, device)
    except BadSpecError:
        raise
    except Exception as error:  # a wrong file fails in many ways
        raise BadSpecError(
            f"evaluation.extractor {url!r}: is neither a TorchScript nor a pt2 file that loads here ({error})"
        ) from error
    return FileExtractor(url.rpartition("/")[2], file_digest(path), net, device)


def _local_copy(url: str, cache_dir: Path, access: Access) -> Path:
    location, name = locate_file(url, access, "evaluation.extractor")
    local = location.local(name)
    if local is not None:
        if not local.is_file():
            raise BadDataError("there is no such file")
        return local
    path = cache_dir / "extractors" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}-{name}"
    path.parent.mkdir(parents=True, exist_ok=True)

    def download() -> None:
        with replace_atomically(path) as aside, aside.open("wb") as file:
            for chunk in chunks(location, name, MAX_EXTRACTOR):
                file.write(chunk)

    with FileLock(f"{path}.lock"):
        if not path.exists():
            retrying(download, url)
    return path


def is_pt2(path: Path) -> bool:
    """Whether the file is a `torch.export` archive (as against TorchScript, which is a zip file too)."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.count("/") == 1 and name.endswith("/archive_format") for name in archive.namelist())


def _load_torchscript(path: Path, device: torch.device) -> Callable[[Tensor], Any]:
    refuse_file_access(path)
    net: torch.jit.ScriptModule = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    return net.eval()


def _load_pt2(path: Path, device: torch.device) -> Callable[[Tensor], Any]:
    refuse_file_access(path)
    refuse_pickles(path)
    module = torch.export.load(path).module()
    return module.to(device)


FILE_OPERATORS = re.compile(rb"\b(?:from_file|aten[.:]+save|torch\.save)\b")
"""Operators by which a saved program could read or write files of its own choice."""


def refuse_file_access(path: Path) -> None:
    """Raise BadSpecError if the program calls an operator that opens files.

    Looked for in the archive's own text, before anything of it runs: a script's `__setstate__` runs while it loads.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith((".py", ".json")):
                continue
            if found := FILE_OPERATORS.search(_text(archive, member, path)):
                raise BadSpecError(
                    f"evaluation.extractor {path.name}: its {member.filename} calls {found.group().decode()}, which opens files; "
                    "use a net that computes features alone"
                )


def _text(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bytes:
    """A part of a program's archive, no more of it than it says to hold. Raises BadSpecError for what torch doesn't write."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.file_size > MOST_TEXT:
        raise BadSpecError(
            f"evaluation.extractor {path.name}: its {member.filename} is compressed otherwise than torch does it, or longer than "
            f"{MOST_TEXT >> 20} MiB; give the file as torch saved it"
        )
    with archive.open(member) as file:
        return file.read(member.file_size)  # all of it inflated at once would be what it holds, whatever it says


def refuse_pickles(path: Path) -> None:
    """Raise BadSpecError if torch.export.load would unpickle something of this file, or load compiled code from it.

    What it may hold: the graph and raw tensors. Its sample inputs, which torch.save wrote, must be plain tensors.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            part = member.filename.partition("/")[2]
            if part.startswith("data/aotinductor/") or part.rpartition("/")[2].startswith(
                ("custom_obj_", "opaque_obj_")
            ):
                raise BadSpecError(
                    f"evaluation.extractor {path.name}: holds {part}, which is code or a pickle; export it without"
                )
            if part.startswith(("data/weights/", "data/constants/")) and part.endswith(".pt"):
                raise BadSpecError(
                    f"evaluation.extractor {path.name}: holds pickled weights ({part}); export it again with torch 2.9 or newer"
                )
            if part.endswith("_config.json") and _pickled_payload(_text(archive, member, path)):
                raise BadSpecError(
                    f"evaluation.extractor {path.name}: holds pickled tensors ({part}); export it from plain tensors"
                )
            if part.startswith("data/sample_inputs/") and member.file_size:
                torch.load(io.BytesIO(_text(archive, member, path)), weights_only=True)


def _pickled_payload(config: bytes) -> bool:
    return any(item.get("use_pickle") for item in json.loads(config).get("config", {}).values())
