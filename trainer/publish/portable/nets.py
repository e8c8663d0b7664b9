"""Loads a package's nets: torch.export programs and their weights, on any device. Part of every package; needs torch alone."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.export.passes import move_to_device_pass

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_net(program: Path, weights: Path, device: torch.device | str = "cpu") -> torch.nn.Module:
    """The net of a torch.export program and its weights. Raises ValueError for a program that holds pickles."""
    refuse_pickles(program)
    found = torch.export.load(program)
    if torch.device(device).type != "cpu":  # programs are made on the CPU, and say so where they make tensors
        found = move_to_device_pass(found, str(device))
    net: torch.nn.Module = found.module()
    net.load_state_dict(load_file(weights, device=str(device)), strict=True, assign=True)
    return net


def find_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" is a GPU if torch sees one. Raises ValueError for one that isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"device is {name!r}, which torch can't use here ({reason}); give cpu, cuda, cuda:1, … or auto"
        ) from None
    return device


def arithmetic(device: torch.device, dtype: str) -> Callable[[], AbstractContextManager[object]]:
    """A context in which convolutions and matrix products compute in `dtype`; weights and results stay float32.

    Raises ValueError for another dtype than float32, bfloat16 and float16.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; give {', '.join(DTYPES)}")
    if dtype == "float32":
        return nullcontext
    return lambda: torch.autocast(device.type, DTYPES[dtype])


def refuse_pickles(program: Path) -> None:
    """Raise ValueError if torch.export.load would unpickle anything of this file, or load compiled code from it."""
    with zipfile.ZipFile(program) as archive:
        for entry in archive.infolist():
            part = entry.filename.partition("/")[2]
            name = part.rpartition("/")[2]
            bad = part.startswith("data/aotinductor/") or name.startswith(("custom_obj_", "opaque_obj_"))
            bad = bad or (name.endswith(".pt") and entry.file_size > 0)
            if name.endswith("_config.json") and part.startswith("data/"):
                payloads = json.loads(archive.read(entry)).get("config", {}).values()
                bad = bad or any(payload.get("use_pickle") for payload in payloads)
            if bad:
                raise ValueError(f"{program}: {part} is code or a pickle; a published program holds neither")
