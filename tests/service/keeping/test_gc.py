"""Garbage: what of runs that have ended goes, by policy and with its reason; and all that stays."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rows
from checkpoints import FILES, best, save
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import select

from service.bodies import disk as bodies
from service.bodies.disk import Collect
from service.db.tables import Job
from service.disk import gc
from service.disk.gc import Collector
from service.runs import checkpoints, deletion, pins, retention, wishes
from service.settings import Settings
from trainer.retention import Keep, kept

LONG_AGO = time.time() - 7 * 24 * 3600


def ended(parts: Any, days: float = 0.0, **values: Any) -> str:
    """A job at rest, that ended so long ago."""
    return rows.run(parts.db, state="cancelled", finished_at=datetime.now(UTC) - timedelta(days=days), **values)


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*"))


def collector(parts: Any, **body: Any) -> Collector:
    return Collector(parts.db, parts.settings, parts.registry, Collect(**body))


def collect(parts: Any, **body: Any) -> list[bodies.Garbage]:
    """All items, of all calls that it takes."""
    found: list[bodies.Garbage] = []
    cursor: int | None = 0
    while cursor is not None:
        part = collector(parts, **body, cursor=cursor).run()
        assert part.left == ()
        assert part.bytes == sum(item.bytes for item in part.items)
        found += part.items
        cursor = part.next_cursor
    return found


def with_settings(parts: Any, **values: Any) -> None:
    """The server's policy."""
    parts.settings = Settings(**{**parts.settings.model_dump(), **values})


def pin(parts: Any, run: str, step: int) -> None:
    root, folder = parts.settings.jobs_root, parts.folder(run)
    found = checkpoints.find(root, folder, step)
    assert found is not None
    assert pins.pin(root, folder, found)


def kept_of(parts: Any, run: str) -> list[int]:
    """The steps that are listed, newest first."""
    return [item.step for item in checkpoints.every(parts.settings.jobs_root, parts.folder(run))]


def age(path: Path) -> None:
    os.utime(path, (LONG_AGO, LONG_AGO))


def test_what_is_superseded_goes_and_is_only_listed_unless_it_shall(parts: Any) -> None:
    job, other = ended(parts), rows.run(parts.db)
    for step in (500, 1000, 1500, 2000):
        save(parts.folder(job), step)
        save(parts.folder(other), step)
    best(parts.folder(job), 1000)
    for body in ({}, {"dry_run": True}):
        items = collect(parts, **body)
        assert [(item.what, item.run, item.step) for item in items] == [
            ("checkpoint", job, 500), ("checkpoint", job, 1500),
        ]  # fmt: skip
        assert items[0].reason == "superseded: of what has ended the newest stays, the best"
        size = sum((parts.folder(job) / "checkpoints/step-000000500" / name).stat().st_size for name in FILES)
        assert items[0].bytes > size
        assert steps(parts.folder(job)) == [500, 1000, 1500, 2000]
    assert collect(parts, dry_run=False) == items
    assert steps(parts.folder(job)) == [1000, 2000]
    assert steps(parts.folder(other)) == [500, 1000, 1500, 2000], "it trains"
    assert collect(parts, dry_run=False) == []
    assert sorted(path.name for path in (parts.folder(job) / "checkpoints").iterdir()) == [
        "best.json", "step-000001000", "step-000002000",
    ]  # fmt: skip


def test_only_an_administrator_collects(world: Any) -> None:
    token = world.client.post("/v1/tokens", json={"name": "ada", "scope": "user"}).json()["token"]
    reply = world.client.post("/v1/gc", json={}, headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 403
    found = world.client.post("/v1/gc", json={}).json()
    assert (found["dry_run"], found["left"], found["next_cursor"]) == (True, [], None)


@pytest.mark.parametrize("state", ["paused", "queued", "running", "leaving"])
def test_what_goes_on_or_may_keeps_all(parts: Any, state: str) -> None:
    leaving = {"state": "cancelled", "watched": True}
    job = rows.run(parts.db, **(leaving if state == "leaving" else {"state": state}))
    for step in (500, 1000, 1500):
        save(parts.folder(job), step)
    assert collect(parts, dry_run=False) == []
    assert steps(parts.folder(job)) == [500, 1000, 1500]


def test_how_many_have_ended_and_are_not_collected_yet_is_said_once(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their drivers are about to go."""
    monkeypatch.setattr(gc, "RUNS", 1)
    for state in ("succeeded", "failed", "cancelled"):
        rows.run(parts.db, state=state, watched=True)
    rows.run(parts.db, state="running")
    first, second = ended(parts), ended(parts)
    told, cursor = [], 0
    for _ in (first, second):
        part = collector(parts, cursor=cursor).run()
        told.append(part.leaving)
        cursor = part.next_cursor or 0
    assert told == [3, 0]


def test_one_that_goes_on_while_it_is_looked_at_keeps_all(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, of_run = ended(parts), retention.of_run

    def looked(*given: Any) -> Any:
        found = of_run(*given)
        with parts.db.begin() as session:
            wishes.retry(session, job)
        rows.change(parts.db, job, state="cancelled", watched=False)  # and has ended again
        return found

    for step in (500, 1000):
        save(parts.folder(job), step)
    monkeypatch.setattr(retention, "of_run", looked)
    assert collect(parts, dry_run=False) == []
    assert steps(parts.folder(job)) == [500, 1000]


def test_one_that_is_deleted_while_it_is_looked_at_is_no_error(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, of_run = ended(parts), retention.of_run

    def looked(*given: Any) -> Any:
        found = of_run(*given)
        with parts.db.begin() as session:
            deletion.begin(session, parts.settings, session.scalar(select(Job)), mlflow=False)
        return found

    for step in (500, 1000):
        save(parts.folder(job), step)
    monkeypatch.setattr(retention, "of_run", looked)
    assert collect(parts, dry_run=False) == []


def test_a_pin_a_fork_and_a_trials_best_stay(parts: Any) -> None:
    search = rows.run(parts.db, "search", "cancelled")
    trial = parts.folder(search) / "trials/t-00000"
    for step in (500, 1000, 1500):
        save(trial, step)
    best(trial, 500)
    job = ended(parts)
    for step in (500, 1000, 1500):
        save(parts.folder(job), step)
    pin(parts, job, 500)
    fork = parts.settings.jobs_root / "j-000000000000/checkpoints"
    shutil.copytree(parts.folder(job) / "checkpoints/step-000001000", fork / "step-000001000", copy_function=os.link)
    items = {(item.run, item.trial, item.step): item.bytes for item in collect(parts, dry_run=False)}
    assert set(items) == {(search, "t-00000", 1000), (job, None, 500), (job, None, 1000)}
    assert items[(job, None, 500)] == items[(job, None, 1000)] == 0, "the disk gains nothing"
    assert items[(search, "t-00000", 1000)] > 0
    assert steps(trial) == [500, 1500]
    assert kept_of(parts, job) == [1500, 500]
    assert all((fork / "step-000001000" / name).stat().st_size for name in FILES)


def test_after_so_many_days_all_go_but_the_newest_of_a_registered_version_and_what_is_pinned(parts: Any) -> None:
    young, old, registered = ended(parts, 29), ended(parts, 31), ended(parts, 31)
    rows.change(parts.db, registered, model={"name": "digits", "version": "1", "champion": True, "verdict": ""})
    for job in (young, old, registered):
        for step in (500, 1000, 1500):
            save(parts.folder(job), step)
        best(parts.folder(job), 1000)
        (parts.folder(job) / "checkpoints/sick-0-step-000000700").mkdir()
    pin(parts, old, 500)
    with_settings(parts, keep_days=30)
    items = collect(parts, dry_run=False)
    assert {item.reason for item in items if item.run == old} == {
        "its job ended more than 30 days ago",
        "undone or damaged, and its job ended more than 30 days ago",
    }
    assert steps(parts.folder(young)) == [1000, 1500]
    assert (steps(parts.folder(old)), steps(parts.folder(registered))) == ([], [1500])
    assert [path.name for path in (parts.folder(young) / "checkpoints").glob("sick-*")] == ["sick-0-step-000000700"]
    assert not [*(parts.folder(old) / "checkpoints").glob("sick-*")]
    assert kept_of(parts, old) == [500]


def test_the_checkpoint_of_a_trial_that_was_registered_stays(parts: Any) -> None:
    search = rows.run(parts.db, "search", "cancelled")
    rows.change(parts.db, search, finished_at=datetime.now(UTC) - timedelta(days=40))
    for trial in ("t-00000", "t-00001"):
        for step in (500, 1000, 1500):
            save(parts.folder(search) / "trials" / trial, step)
    for name in ("t-00001-1000", "t-00000-x", "notes"):
        (parts.folder(search) / "best" / name).mkdir(parents=True)
    with_settings(parts, keep_days=30)
    collect(parts, dry_run=False)
    left = {trial: steps(parts.folder(search) / "trials" / trial) for trial in ("t-00000", "t-00001")}
    assert left == {"t-00000": [], "t-00001": [1000]}


def test_sample_grids_go_only_if_asked_and_never_the_newest(parts: Any) -> None:
    old, young = ended(parts, 100), ended(parts, 80)
    for job in (old, young):
        for step in (500, 1000, 1500):
            path = parts.folder(job) / f"samples/step-{step:09d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x89PNG" + bytes(96))
    assert collect(parts, dry_run=False) == []
    (item,) = collect(parts, dry_run=False, samples_days=90)
    assert (item.what, item.run, item.count, item.bytes) == ("samples", old, 2, 200)
    assert [path.name for path in (parts.folder(old) / "samples").iterdir()] == ["step-000001500.png"]
    assert len(list((parts.folder(young) / "samples").iterdir())) == 3
    assert collect(parts, dry_run=False, samples_days=90) == []


def test_what_processes_left_that_died_goes_once_it_is_old(parts: Any) -> None:
    job = ended(parts)
    save(parts.folder(job), 500)
    left = [
        parts.folder(job) / "checkpoints/.writing-step-000000700-12",
        parts.folder(job) / "checkpoints/.removed-step-000000700-ab",
        parts.folder(job) / "pinned/.pinning-step-000000700-ab",
    ]
    for path in left:
        path.mkdir(parents=True)
        (path / "state.safetensors").write_bytes(bytes(1000))
    assert collect(parts, dry_run=False) == [], "someone may be at it"
    for path in left:
        age(path)
    items = collect(parts, dry_run=False)
    assert [(item.what, item.bytes) for item in items] == [("leftover", 1000)] * 3
    assert not any(path.exists() for path in left)
    assert steps(parts.folder(job)) == [500]


def test_folders_of_runs_that_never_were_go_and_those_of_runs_that_nobody_knows_stay(parts: Any) -> None:
    """A database may have been restored from before a run was submitted: what it trained is not garbage."""
    root, job = parts.settings.jobs_root, ended(parts)
    waiting = rows.run(parts.db, state="queued")
    names = {
        "j-000000000001": "checkpoints/step-000000001/manifest.json",  # was renamed into place, and its row never came
        ".j-000000000002.abcdef": "origin/step-000000001/manifest.json",
        ".deleted-j-000000000003": "job.json",
        "j-000000000004": "job.json",
        "s-000000000005": "search.json",
        "notes": "a.txt",
        job: "checkpoints/step-000000001/manifest.json",
        waiting: "checkpoints/step-000000001/manifest.json",
    }
    for name, file in names.items():
        (root / name / file).parent.mkdir(parents=True, exist_ok=True)
        (root / name / file).write_bytes(bytes(10))
    (root / "j-000000000006").symlink_to(root / "notes")
    assert collect(parts, dry_run=False) == [], "requests may be at it"
    for path in root.iterdir():
        age(path)
    items = collect(parts)
    assert [(item.what, item.run, item.bytes) for item in items] == [
        ("leftover", "j-000000000003", 10), ("leftover", "j-000000000002", 10), ("leftover", "j-000000000001", 10),
    ]  # fmt: skip
    assert collect(parts, dry_run=False) == items
    assert {path.name for path in root.iterdir()} == {*names, "j-000000000006"} - {
        "j-000000000001", ".j-000000000002.abcdef", ".deleted-j-000000000003",
    }  # fmt: skip


def test_deletions_that_broke_off_are_gone_on_with(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(parts)
    save(parts.folder(job), 500)
    record = parts.registry.track(job)
    rows.change(parts.db, job, mlflow_run_id=record)
    with parts.db.begin() as session:
        deletion.begin(session, parts.settings, session.scalar(select(Job)), mlflow=True)
    (item,) = collect(parts)
    assert (item.what, item.run, item.reason) == ("deletion", job, "its deletion broke off")
    assert parts.folder(job).exists()
    parts.registry.unreachable = True
    assert f"job {job}: its records in MLflow" in collector(parts, dry_run=False).run().left[0]
    assert not parts.folder(job).exists()
    parts.registry.unreachable = False
    assert [item.what for item in collect(parts, dry_run=False)] == ["deletion"]
    assert parts.registry.records(record, job) == []
    assert collect(parts, dry_run=False) == []


def test_a_call_looks_at_some_runs_and_the_next_goes_on(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [ended(parts) for _ in range(5)]
    for job in jobs:
        for step in (500, 1000):
            save(parts.folder(job), step)
    whole = collect(parts)
    assert [item.run for item in whole] == jobs
    monkeypatch.setattr(gc, "RUNS", 2)
    assert collect(parts) == whole
    monkeypatch.setattr(gc, "RUNS", 200)
    monkeypatch.setattr(gc, "SECONDS", -1.0)
    assert collect(parts, dry_run=False) == whole


def test_what_can_not_be_removed_is_told(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Path:
        raise PermissionError(13, "Permission denied")

    job = ended(parts)
    for step in (500, 1000):
        save(parts.folder(job), step)
    monkeypatch.setattr(gc, "take_away", refused)
    assert "Permission denied" in collector(parts, dry_run=False).run().left[0]
    assert steps(parts.folder(job)) == [500, 1000]


def test_a_crash_leaves_what_is_hidden_and_goes_the_next_time(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(parts)
    for step in (500, 1000, 1500):
        save(parts.folder(job), step)
    with monkeypatch.context() as patch:
        patch.setattr(gc, "_clear", lambda _: None)
        collect(parts, dry_run=False)
    assert kept_of(parts, job) == [1500]
    for path in (parts.folder(job) / "checkpoints").glob(".removed-*"):
        age(path)
    assert [item.what for item in collect(parts, dry_run=False)] == ["leftover", "leftover"]
    assert [path.name for path in (parts.folder(job) / "checkpoints").iterdir()] == ["step-000001500"]


def test_nothing_that_lies_elsewhere_goes(parts: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for step in (500, 1000):
        save(elsewhere, step)
    (elsewhere / "samples").mkdir()
    for step in (500, 1000):
        (elsewhere / f"samples/step-{step:09d}.png").write_bytes(b"x")
    job = ended(parts, 100)
    parts.folder(job).mkdir(parents=True)
    for name in ("checkpoints", "samples", "pinned"):
        (parts.folder(job) / name).symlink_to(elsewhere / name)
    (parts.folder(job) / "trials").symlink_to(tmp_path)
    assert collect(parts, dry_run=False, samples_days=1) == []
    assert steps(elsewhere) == [500, 1000]


@given(
    saved=st.sets(st.integers(1, 60), max_size=12),
    best_steps=st.lists(st.integers(1, 60), unique=True, max_size=3),
    own=st.builds(Keep, st.integers(1, 4), st.integers(0, 3), st.none() | st.integers(64, 1500)),
    server=st.tuples(st.integers(1, 4), st.none() | st.integers(0, 3), st.none() | st.integers(64, 1500)),
)
@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_stays_is_what_both_the_spec_and_the_server_keep(
    tmp_path_factory: pytest.TempPathFactory, saved: set[int], best_steps: list[int], own: Keep, server: Any
) -> None:
    root = tmp_path_factory.mktemp("jobs")
    folder = root / "j-000000000000"
    for step in saved:
        save(folder, step)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    if best_steps:
        behind = [{"step": step, "value": 2.0} for step in best_steps[1:]]
        record = {"step": best_steps[0], "metric": "fid", "value": 1.0, "behind": behind}
        (folder / "checkpoints/best.json").write_text(json.dumps(record))
    settings = Settings(
        home=root, jobs_root=root, keep_last=server[0], keep_best=server[1], keep_every_images=server[2]
    )
    section = {"keep_last": own.last, "keep_best": own.best, "keep_every_images": own.every_images}
    job = Job(
        id=folder.name, kind="job", spec={"checkpoint": section}, state="succeeded", finished_at=datetime.now(UTC)
    )
    found = {item.step for item in retention.of_run(settings, job)}
    stay = kept({step: 64 * step for step in saved}, best_steps, own.within(*server)).keys()
    assert found == saved - stay
    assert not saved or max(saved) not in found


def test_the_spec_of_an_old_row_keeps_what_it_always_meant(settings: Settings) -> None:
    everything = Settings(**{**settings.model_dump(), "keep_last": 99})
    assert retention.policy(
        everything, {"checkpoint": {"every_steps": 500, "keep_last": 7, "keep_best": False}}
    ) == Keep(7, 0)
    assert retention.policy(everything, {}) == Keep(3, 1)


def test_two_at_once_remove_all_of_it_once(parts: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    job = ended(parts)
    for step in range(100, 2100, 100):
        save(parts.folder(job), step)

    def run(_: int) -> Any:
        return collector(parts, dry_run=False).run()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(4)))
    assert all(part.left == () for part in found)
    assert steps(parts.folder(job)) == [2000]
