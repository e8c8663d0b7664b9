"""What people note about a run reaches its record in MLflow, whenever they do, and whoever is away."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from service.app import create_app
from service.db.tables import Job
from service.gateway.notes import COUNT_TAG, LABEL_TAG, NAME_TAG, NOTE_TAG, Note, changes
from service.gateway.ray_jobs import RayStatus
from service.gateway.registry import RegistryRefusedError
from service.runs import noting

WORDS = st.text("abc", min_size=1, max_size=2)
LABELS = st.dictionaries(WORDS, WORDS, max_size=3)
NOTES = st.builds(
    Note, st.just("j-1"), st.integers(1, 3), st.none() | WORDS, st.none() | LABELS, st.none() | st.just("") | WORDS
)


def applied(tags: dict[str, str], note: Note) -> dict[str, str]:
    found = changes(tags, note)
    named = {NAME_TAG: found.name} if found.name is not None else {}
    return {name: value for name, value in tags.items() if name not in found.gone} | dict(found.tags) | named


@given(st.lists(NOTES, max_size=6), st.sampled_from(["small-j-1", "my favourite"]))
def test_a_record_has_what_was_noted_at_the_highest_count_and_the_same_told_twice_changes_nothing(
    notes: list[Note], name: str
) -> None:
    tags = {NAME_TAG: name, "theirs": "x"}
    newest = 0
    for note in notes:
        before, tags = tags, applied(tags, note)
        if note.count < newest:
            assert tags == before
            continue
        newest = note.count
        assert changes(tags, note) == changes(tags, note).__class__()
        labels = {name.removeprefix(LABEL_TAG): value for name, value in tags.items() if name.startswith(LABEL_TAG)}
        assert note.labels in (None, labels)
        assert note.notes in (None, tags.get(NOTE_TAG, ""))
        assert note.name is None or tags[NAME_TAG] == (f"{note.name}-j-1" if name.endswith("-j-1") else name)
    assert tags["theirs"] == "x"
    assert tags.get(COUNT_TAG) == (str(newest) if newest else None)


@pytest.fixture
def record(world: Any) -> str:
    """MLflow's record of a job that has succeeded."""
    job = world.running()
    found = str(world.registry.track(job))
    world.tell(job, "tracked", mlflow_run_id=found)
    world.tell(job, "finished", outcome="completed")
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    assert world.job(job)["state"] == "succeeded"
    return found


def row(world: Any) -> Job:
    with world.db.read() as session:
        (found,) = session.scalars(select(Job)).all()
        return found


def edit(world: Any, **changes: Any) -> None:
    reply = world.client.patch(f"/v1/jobs/{row(world).id}", json={"set": changes})
    assert reply.status_code == 200, reply.text


def look(world: Any, later: timedelta = timedelta()) -> None:
    """Tell what is due by then."""
    now = datetime.now(UTC) + later
    for number in noting.due(world.db, now):
        noting.tell(world.db, world.registry, number, now)


@pytest.mark.databases
def test_labels_name_and_notes_edited_after_the_end_reach_the_record(world: Any, record: str) -> None:
    job = row(world).id
    edit(world, labels={"team": "vision", "draft": "x"}, notes="why", name="renamed")
    look(world)
    told = {LABEL_TAG + "team": "vision", LABEL_TAG + "draft": "x", NOTE_TAG: "why", NAME_TAG: f"renamed-{job}"}
    assert world.registry.tags(record) == {**told, COUNT_TAG: "1"}
    edit(world, **{"labels.draft": None, "notes": ""})
    look(world)
    assert world.registry.tags(record) == {
        LABEL_TAG + "team": "vision", NAME_TAG: f"renamed-{job}", COUNT_TAG: "2",
    }  # fmt: skip
    assert (row(world).untold, row(world).untold_at) == ("", None)
    assert not noting.due(world.db, datetime.now(UTC) + timedelta(days=1)), "it is told once"


@pytest.mark.databases
def test_an_mlflow_that_is_away_keeps_nobody_from_editing_and_is_told_when_it_is_back(world: Any, record: str) -> None:
    before, world.registry.unreachable = world.registry.tags(record), True
    edit(world, **{"labels.team": "vision"})
    look(world)
    edit(world, notes="meanwhile")
    look(world)
    assert row(world).untold == "labels,notes"
    world.registry.unreachable = False
    assert not noting.due(world.db, datetime.now(UTC)), "not asked again at once"
    look(world, noting.PAUSE + timedelta(seconds=1))
    assert world.registry.tags(record) == {
        **before, LABEL_TAG + "team": "vision", NOTE_TAG: "meanwhile", COUNT_TAG: "2",
    }  # fmt: skip


@pytest.mark.databases
def test_what_is_noted_while_mlflow_is_told_is_told_next_and_one_that_is_late_has_it_told_again(
    world: Any, record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(world, **{"labels.team": "vision"})
    note, number = world.registry.note, row(world).number

    def slow(of: str, what: Note) -> None:
        monkeypatch.setattr(world.registry, "note", note)
        edit(world, **{"labels.team": "sound"})
        look(world)  # another tells that first
        assert row(world).untold == ""
        world.registry._tags[of].pop(COUNT_TAG)  # as if this one had read them before
        note(of, what)

    monkeypatch.setattr(world.registry, "note", slow)
    noting.tell(world.db, world.registry, number)
    assert world.registry.tags(record)[LABEL_TAG + "team"] == "vision"
    look(world)
    assert (world.registry.tags(record)[LABEL_TAG + "team"], row(world).untold) == ("sound", "")


@pytest.mark.databases
def test_two_do_not_tell_the_same_at_once(world: Any, record: str) -> None:
    edit(world, notes="x")
    (number,), now = noting.due(world.db, datetime.now(UTC)), datetime.now(UTC)
    assert noting._begin(world.db, number, now) is not None
    assert noting._begin(world.db, number, now) is None
    assert noting._begin(world.db, number, now + noting.LEASE) is not None, "whoever began may have died"


def test_a_record_that_is_gone_is_told_no_more_and_one_that_mlflow_keeps_locked_later(
    world: Any, record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(of: str, what: Note) -> None:
        raise RegistryRefusedError("the experiment is deleted")

    with monkeypatch.context() as patch:
        patch.setattr(world.registry, "note", refuse)
        edit(world, notes="x")
        look(world)
    look(world, noting.PAUSE)
    assert NOTE_TAG not in world.registry.tags(record), "an hour later"
    look(world, noting.LONG_PAUSE + timedelta(seconds=1))
    assert world.registry.tags(record)[NOTE_TAG] == "x"
    world.registry.delete_record(record)
    edit(world, notes="y")
    look(world)
    assert (row(world).untold, row(world).untold_at) == ("", None)


def test_what_is_noted_before_there_is_a_record_waits_for_it(world: Any) -> None:
    job = world.running()
    edit(world, notes="early")
    look(world)
    assert row(world).untold == "notes"
    found = world.registry.track(job)
    world.tell(job, "tracked", mlflow_run_id=found)
    look(world)
    assert world.registry.tags(found)[NOTE_TAG] == "early"


def test_a_running_application_tells_by_itself_what_is_left_from_before(world: Any, record: str) -> None:
    edit(world, notes="by itself")
    with TestClient(create_app(world.settings, world.ray, world.registry)):
        until = time.monotonic() + 20
        while row(world).untold and time.monotonic() < until:
            time.sleep(0.02)
    assert world.registry.tags(record)[NOTE_TAG] == "by itself"
