"""A control plane with someone who answers questions to models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from askers import House, opened

from service.db.session import Database
from service.plans.planner import Planner
from service.settings import Settings


@pytest.fixture
def house(settings: Settings, db: Database) -> Iterator[House]:
    """On each database."""
    yield from opened(settings, db)


@pytest.fixture
def build(settings: Settings, db: Database) -> Iterator[Callable[..., House]]:
    """One with other settings."""
    made: list[Iterator[House]] = []

    def one(planner: Planner | None = None, **changes: Any) -> House:
        made.append(opened(settings.model_copy(update=changes), db, planner))
        return next(made[-1])

    yield one
    for each in made:
        next(each, None)
