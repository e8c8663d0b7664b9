"""State dicts of other people's files: read as tensors alone, checked, and taken out of what they are wrapped in."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

State = dict[str, Tensor]
Net = Literal["G", "D"]
PREFERRED: dict[Net, tuple[str, ...]] = {"G": ("state_dict", "G_ema", "ema", "G"), "D": ("state_dict", "D")}
"""Of several state dicts in one file, that under the first of these names is taken, by the net that is wanted."""


def read_state(path: Path, wanted: str, net: Net = "G") -> tuple[State, list[str]]:
    """The state dict in a file of `torch.save`, floats in float32, and remarks on how it was found.

    wanted: which file the user should give, for errors. net: the one that is taken where the file holds both.
    Raises ValueError for a file that is no state dict, is damaged (the archive's checksums are compared before anything in it is
    used), or would run code when it is read.
    """
    notes = _checked(path, wanted)
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        # torch's own message advises to read the file without this safety.
        raise ValueError(
            f"{path}: holds something else than tensors, or is damaged, and nothing but tensors is read "
            f"({type(error).__name__}); give {wanted}, or save its state dict alone with torch.save"
        ) from None
    state, within = _inside(found, path, wanted, net)
    state, prefix = _without_prefix(state, net)
    notes += [f"taken from the entry {within!r}"] * bool(within) + [f"names without their {prefix!r}"] * bool(prefix)
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}, notes


def _checked(path: Path, wanted: str) -> list[str]:
    """Raise ValueError unless each member of the archive has the checksum that it was saved with."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give {wanted}")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if not file.read(2).startswith(b"\x80"):  # how a pickle begins
                raise ValueError(f"{path}: is no file of torch.save, or its download broke off; give {wanted}")
        return ["the file is of torch's format before 1.6, which has no checksums: damage would not be noticed"]
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError(f"{path}: is a compressed archive, and torch.save compresses nothing; give {wanted}")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{path}: is a damaged archive ({error}); fetch it again") from None
    if damaged is not None:
        raise ValueError(
            f"{path}: is damaged: {damaged} in it has not the checksum that it was saved with; fetch the file again (or, "
            "if it was saved with torch.serialization.set_crc32_options(False), save it without)"
        )
    return []


def _inside(found: Any, path: Path, wanted: str, net: Net) -> tuple[State, str]:
    """The state dict itself, and under which name it lay in the file; "" for a file that is one."""
    if _is_state(found):
        return {str(name): value for name, value in found.items()}, ""
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: is no state dict of tensors but a {type(found).__name__}; give {wanted}")
    if "param_groups" in found:
        raise ValueError(f"{path}: is the state of an optimiser; give {wanted}")
    states = {str(name): value for name, value in found.items() if _is_state(value)}
    names = [name for name in PREFERRED[net] if name in states] or list(states)
    if not names:
        raise ValueError(f"{path}: is no state dict of tensors, nor is one in it; give {wanted}")
    if len(names) > 1 and names[0] not in PREFERRED[net]:
        raise ValueError(
            f"{path}: holds several state dicts: {', '.join(names)}; save one of them alone with torch.save"
        )
    return {str(name): value for name, value in states[names[0]].items()}, names[0]


def _is_state(found: Any) -> bool:
    return isinstance(found, Mapping) and len(found) > 0 and all(isinstance(value, Tensor) for value in found.values())


def _without_prefix(state: State, net: Net) -> tuple[State, str]:
    """Without what all names begin with: `module.` of DataParallel and DDP, `_orig_mod.` of torch.compile, a net's name. Of
    a pair of nets G and D, that of `net`."""
    prefix = ""
    while True:
        first = {name.partition(".")[0] for name in state}
        chosen = net if first == {"G", "D"} else next(iter(first)) if len(first) == 1 else None
        if chosen is None or f"{chosen}" in state:
            return state, prefix
        state = {n.removeprefix(f"{chosen}."): value for n, value in state.items() if n.startswith(f"{chosen}.")}
        prefix += f"{chosen}."


def refuse_unusable(state: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming the tensor, for values that no net can be run with: NaN, infinity."""
    for name, value in state.items():
        if value.is_floating_point() and (wrong := int((~torch.isfinite(value)).sum())):
            raise ValueError(
                f"{name} holds NaN or infinity ({wrong} of {value.numel()} values): the training had diverged when it was "
                "saved; give an earlier checkpoint of it"
            )
