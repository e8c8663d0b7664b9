"""stack.json: what runs, so that other commands find it and nothing else is ever signalled."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from service.stack.layout import Layout
from service.stack.parts import Config
from service.stack.ports import Ports, base_url
from service.stack.processes import is_alive

_ROOTS = TypeAdapter(tuple[str, ...])


class PartRecord(BaseModel):
    """One running part. A pid alone could have been given to another process since; pid and start time could not."""

    model_config = ConfigDict(frozen=True)

    pid: int
    create_time: float
    url: str
    log: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return is_alive(self.pid, self.create_time)


class StackRecord(BaseModel):
    """One start of the stack."""

    model_config = ConfigDict(frozen=True)

    stack_id: str
    """In the environment of every process of the stack, so that all of them can be found."""
    started_at: datetime
    host: str
    ports: dict[str, int]
    cpus: int | None
    data_roots: tuple[str, ...] = ()
    """Folders that jobs may read datasets from, beside AGON_DATA_ROOTS and `data` in home."""
    parts: dict[str, PartRecord]

    def config(self, layout: Layout) -> Config:
        """What it was started with."""
        return Config(layout, Ports(**self.ports), self.host, self.cpus, self.data_roots)

    @property
    def api_url(self) -> str:
        """Base URL of the API on this machine."""
        return self.parts["api"].url if "api" in self.parts else base_url(self.host, self.ports["api"])


def read(path: Path) -> StackRecord | None:
    """The record; None if there is none, or none that can be read (then it names no process)."""
    try:
        return StackRecord.model_validate_json(path.read_text())
    except (FileNotFoundError, ValidationError):
        return None


def write(path: Path, record: StackRecord) -> None:
    """Replace the record in one step, readable by its owner alone."""
    _replace(path, record.model_dump_json(indent=2))


def read_roots(path: Path) -> tuple[str, ...]:
    """The data roots of earlier starts; none if nothing can be read."""
    try:
        return _ROOTS.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return ()


def write_roots(path: Path, roots: tuple[str, ...]) -> None:
    """Keep them for the next start: jobs that were stopped with the stack go on with their data."""
    _replace(path, json.dumps(roots, indent=2))


def _replace(path: Path, text: str) -> None:
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    aside.touch(mode=0o600)
    aside.write_text(text)
    aside.replace(path)
