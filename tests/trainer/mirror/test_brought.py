"""When a driver goes on with the copy, when it begins, and when it does neither: to begin anew instead would be another training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import save
from trainer.families.table import recipes
from trainer.launch import brought
from trainer.launch.brought import bring
from trainer.mirror.bringing import MARK
from trainer.mirror.copying import copy
from trainer.mirror.place import MirrorError, Place
from trainer.sinks.spool import ACKED_FILE, read_cursor
from trainer.wire import JobFile

RUN = "j-0123456789ab"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def job(tmp_path: Path, store: Path | str, attempt: int = 2, told: int = 0) -> JobFile:
    folder = tmp_path / "jobs" / RUN
    folder.mkdir(parents=True, exist_ok=True)
    return JobFile(
        job_id=RUN, attempt=attempt, job_dir=str(folder), cache_dir=str(tmp_path), spec=recipes()["dcgan-digits"](),
        mirror=str(store), told=told,
    )  # fmt: skip


def copied(tmp_path: Path, store: Path) -> None:
    old = tmp_path / "old"
    save(old, 1000)
    (old / MARK).write_text("")
    copy(old, Place(str(store)), RUN, rests=True)


@pytest.mark.parametrize("attempt", [1, 2])
def test_what_has_a_copy_goes_on_with_it_also_where_the_database_is_from_before_its_first_attempt(
    tmp_path: Path, store: Path, attempt: int
) -> None:
    copied(tmp_path, store)
    run = job(tmp_path, store, attempt, told=7)
    bring(run)
    assert (Path(run.job_dir) / "checkpoints" / "step-000001000" / "manifest.json").exists()
    assert read_cursor(Path(run.job_dir) / ACKED_FILE) == 7


def test_a_new_one_begins_also_while_the_store_is_away(tmp_path: Path, store: Path) -> None:
    bring(job(tmp_path, store, attempt=1))
    bring(job(tmp_path, tmp_path / "nowhere", attempt=1))


def test_one_that_has_told_something_never_begins_anew(tmp_path: Path, store: Path, monkeypatch: Any) -> None:
    with pytest.raises(MirrorError, match="has told 5 events, and neither"):
        bring(job(tmp_path, store, told=5))
    pauses: list[float] = []
    monkeypatch.setattr(brought, "PATIENCE_SECONDS", 30.0)
    clock = iter(range(0, 1000, 12))
    monkeypatch.setattr(brought.time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(MirrorError, match="can't be listed"):
        bring(job(tmp_path, tmp_path / "nowhere", told=5), pauses.append)
    assert pauses == [10.0], "it waits for a store that is away"


def test_one_that_has_its_folder_asks_nobody(tmp_path: Path) -> None:
    run = job(tmp_path, "s3://bucket-that-nobody-asks", told=5)
    (Path(run.job_dir) / MARK).write_text("")
    bring(run)
