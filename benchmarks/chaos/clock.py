"""A machine's clock that somebody sets, also while its processes run: what `datetime.now` says in modules of the product."""

from __future__ import annotations

import mmap
import struct
import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

SIZE = 8


class MachineClock:
    """By how many seconds it is ahead; eight bytes that all processes of the machine share."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), SIZE)

    @property
    def ahead(self) -> float:
        """Seconds."""
        return float(struct.unpack("<d", self._shared[:SIZE])[0])

    def set(self, ahead: float) -> None:
        """Step it."""
        self._shared[:SIZE] = struct.pack("<d", ahead)


def install(clock: MachineClock, packages: tuple[str, ...]) -> None:
    """Have the loaded modules of these packages read that clock. Nothing of them changes but their name `datetime`."""

    class Kind(type(datetime)):  # type: ignore[misc]
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Shifted(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=clock.ahead)

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages and getattr(module, "datetime", None) is datetime:
            module.datetime = Shifted  # type: ignore[attr-defined]
