"""Which runs' folders are copied when, by one process of all, and that a deleted run's copy goes with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.db.session import Database
from service.mirror.loop import Mirror
from service.runs import deletion
from service.settings import Settings
from tests import rows
from tests.checkpoints import save
from trainer.mirror.place import MirrorError, Place


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def mirrored(settings: Settings, store: Path) -> Settings:
    return settings.model_copy(update={"mirror": str(store)})


@pytest.fixture
def start(db: Database, mirrored: Settings) -> Iterator[Callable[..., Mirror]]:
    stops = []

    def begin(place: Callable[[], Place] | None = None) -> Mirror:
        mirror = Mirror(db, mirrored, place or (lambda: Place(mirrored.mirror)), pause=0.02)
        stops.append(mirror.start())
        return mirror

    yield begin
    for stop in stops:
        stop()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def written(settings: Settings, run: str, step: int = 100) -> Path:
    save(settings.jobs_root / run, step)
    return settings.jobs_root / run


def whole(store: Path, run: str, step: int = 100) -> bool:
    return (store / run / f"checkpoints/step-{step:09d}/manifest.json").exists()


@pytest.mark.databases
def test_runs_on_the_cluster_are_followed_those_that_end_once_more_and_old_ones_once(
    db: Database, mirrored: Settings, store: Path, start: Any
) -> None:
    old, runs = rows.run(db, state="succeeded"), rows.run(db)
    for run in (old, runs):
        written(mirrored, run)
    start()
    until(lambda: whole(store, old) and whole(store, runs))
    written(mirrored, runs, 200)
    until(lambda: whole(store, runs, 200))
    rows.change(db, runs, state="paused", watched=False)
    (mirrored.jobs_root / runs / "last.png").write_bytes(b"x")
    until(lambda: (store / runs / "last.png").exists())
    new = rows.run(db)
    written(mirrored, new)
    until(lambda: whole(store, new))


def test_a_store_that_is_away_is_asked_again(db: Database, mirrored: Settings, store: Path, start: Any) -> None:
    run = rows.run(db, state="succeeded")
    written(mirrored, run)
    tries = iter(range(100))

    def place() -> Place:
        if next(tries) < 3:
            raise MirrorError("s3://b: away")
        return Place(str(store))

    start(place)
    until(lambda: whole(store, run))


def test_one_run_that_can_not_be_copied_keeps_no_other_from_it(
    db: Database, mirrored: Settings, store: Path, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, good = rows.run(db), rows.run(db)
    for run in (odd, good):
        written(mirrored, run)
    real = Mirror.copy

    def copy(self: Mirror, run: str, *, rests: bool) -> None:
        if run == odd:
            raise ValueError("a bug")
        real(self, run, rests=rests)

    monkeypatch.setattr(Mirror, "copy", copy)
    start()
    until(lambda: whole(store, good))
    for step in range(200, 900, 100):  # more often than there are threads
        written(mirrored, good, step)
        until(lambda step=step: whole(store, good, step))  # type: ignore[misc]


def test_what_is_sent_while_its_run_is_deleted_goes_too(db: Database, mirrored: Settings, store: Path) -> None:
    run = rows.run(db)
    written(mirrored, run)
    with db.begin() as session:
        session.query(rows.Job).filter(rows.Job.id == run).delete()
    Mirror(db, mirrored, lambda: Place(mirrored.mirror)).copy(run, rests=True)
    assert not list(store.rglob("*.json"))


def test_one_process_copies_and_another_takes_over(db: Database, mirrored: Settings, store: Path) -> None:
    first, second = (Mirror(db, mirrored, lambda: Place(mirrored.mirror), pause=0.02) for _ in range(2))
    with first._alone() as mine, second._alone() as others:
        assert (mine, others) == (True, False)
    with second._alone() as mine:
        assert mine


def test_a_deleted_runs_copy_goes_with_it_or_is_left_to_be_removed(
    db: Database, mirrored: Settings, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rows.run(db, state="succeeded")
    written(mirrored, run)
    Mirror(db, mirrored, lambda: Place(mirrored.mirror)).copy(run, rests=True)
    assert whole(store, run)
    with db.begin() as session:
        job = session.query(rows.Job).filter(rows.Job.id == run).one()
        left = deletion.begin(session, mirrored, job, mlflow=False)
        session.flush()
        session.expunge(left)
    with monkeypatch.context() as away:

        def refuse(*_: Any) -> None:
            raise MirrorError("s3://b/x can't be listed: away")

        away.setattr(Place, "sizes", refuse)
        assert deletion.finish(db, mirrored, None, left) == ["its second copy: s3://b/x can't be listed: away"]
    assert whole(store, run)
    assert deletion.finish(db, mirrored, None, left) == []
    assert not list(store.rglob("*.json"))
    assert not (mirrored.jobs_root / run).exists()
