"""`agon gc`: what would go is said, and goes once one has said so."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rows
from checkpoints import save

from service.cli import gc
from service.db.session import Database

Agon = Callable[..., Any]


@pytest.fixture
def folder(agon: Agon, world: Any) -> Path:
    """Of a job that has ended with two checkpoints."""
    world.ray.unreachable = True
    job = agon("submit", "dcgan-digits").out.strip()
    agon("cancel", job)
    while "cancelled" not in agon("show", job).out:
        time.sleep(0.05)
    for step in (500, 1000):
        save(world.settings.jobs_root / job, step)
    return world.settings.jobs_root / job


def steps(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_what_would_go_is_said_then_goes_then_there_is_no_more(agon: Agon, folder: Path) -> None:
    found = agon("gc", "--dry-run")
    line = found.out.splitlines()[1].split()
    assert line[:5] == ["checkpoint", folder.name, "500", "1", "kB"]
    assert "1 of them would go: 1 kB" in found.err
    (item,) = json.loads(agon("gc", "--dry-run", "--json").out)
    assert (item["step"], item["what"]) == (500, "checkpoint")
    assert len(steps(folder)) == 2
    found = agon("gc")
    assert (found.code, "1 of them are gone: 1 kB" in found.err) == (0, True)
    assert steps(folder) == ["step-000001000"]
    again = agon("gc", "--yes")
    assert (again.code, again.out, "nothing to remove" in again.err) == (0, "", True)


def test_what_is_not_collected_yet_is_said(agon: Agon, world: Any, folder: Path) -> None:
    """Of runs whose drivers are about to go."""
    assert "not gone yet" not in agon("gc", "--dry-run").err
    db = Database(world.settings.database_url)
    for words in ("1 run has ended whose driver is not gone yet", "2 runs have ended whose drivers are not gone yet"):
        rows.run(db, state="cancelled", watched=True)
        found = agon("gc", "--dry-run", "--json")
        assert words in " ".join(found.err.split())
        assert len(json.loads(found.out)) == 1
    db.close()


def test_on_a_terminal_one_is_asked_first_and_what_stays_is_an_error(
    agon: Agon, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> Path:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("service.disk.gc.take_away", refused)
        found = agon("gc")
    assert (found.code, "Permission denied" in found.err) == (1, True)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for yes in (False, True):
        monkeypatch.setattr(gc.typer, "confirm", lambda *_, yes=yes, **__: yes)
        found = agon("gc")
        assert (found.code, "would go" in found.err) == (0 if yes else 1, True)
        assert len(steps(folder)) == (1 if yes else 2)
        assert ("removed: 1 kB" in found.err) == yes
