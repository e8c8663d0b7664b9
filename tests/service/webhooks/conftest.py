"""A clock, a receiver, and a database that the examples of a property share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hooks import (
    Clock,
    Receiver,
)

from service.db.session import Database


@pytest.fixture
def clock() -> Clock:
    """It stands."""
    return Clock()


@pytest.fixture
def receiver(db: Database) -> Receiver:
    """It takes everything."""
    return Receiver(db)


@pytest.fixture(scope="module")
def template(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(sqlite_template, tmp_path_factory.mktemp("machine") / "agon.db"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.databases)])
def plain(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database for all examples of a test."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{request.getfixturevalue('template')}")
    else:
        database = Database(request.getfixturevalue("empty_postgres")())
    yield database
    database.close()
