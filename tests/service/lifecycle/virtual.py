"""A time that a test moves, for all of the control plane: every clock that it reads goes by it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from types import SimpleNamespace

import pytest

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


class VirtualTime:
    """It stands still unless it is moved."""

    def __init__(self) -> None:
        self.moment = BEGAN

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += timedelta(seconds=seconds)

    @contextmanager
    def ruling(self) -> Iterator[None]:
        """Meanwhile `datetime.now` and, where pauses are counted, `time.monotonic` of the control plane are this time."""
        clock = self

        class Datetime(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return clock.moment

        steady = SimpleNamespace(**vars(time))
        steady.monotonic = lambda: (clock.moment - BEGAN).total_seconds()
        with pytest.MonkeyPatch.context() as patch:
            for name, module in list(sys.modules.items()):
                if name.startswith("service.") and vars(module).get("datetime") is datetime:
                    patch.setattr(module, "datetime", Datetime)
                if name.startswith("service.reconciler.") and vars(module).get("time") is time:
                    patch.setattr(module, "time", steady)
            yield
