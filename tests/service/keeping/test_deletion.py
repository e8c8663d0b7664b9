"""Deleting what has ended: all of it goes, nothing that others stand on; and a crash leaves what is gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forks
import pytest
import rows
from checkpoints import save
from sqlalchemy import select

from service.access import store as tokens
from service.access.tokens import Scope, new_token
from service.db.tables import Deletion, Job, JobEvent
from service.runs import deletion


def url(run: str) -> str:
    return f"/v1/{'jobs' if run.startswith('j-') else 'searches'}/{run}"


def unfinished(world: Any, run: str) -> bool:
    """Whether something of its deletion is left to do."""
    with world.db.read() as session:
        return session.get(Deletion, run) is not None


@pytest.fixture
def ended(job: Any, end: Callable[[Any], None]) -> Any:
    """A job that has trained, was scored, and has ended."""
    return over(job, end)


@pytest.fixture
def either(trained: Any, end: Callable[[Any], None]) -> Any:
    """A job or a search that has."""
    return over(trained, end)


def over(trained: Any, end: Callable[[Any], None]) -> Any:
    save(trained.folder, 500)
    trained.score(500, 1.0)
    end(trained)
    return trained


def test_what_has_not_ended_is_not_deleted(world: Any, trained: Any, end: Callable[[Any], None]) -> None:
    refused = world.client.delete(url(trained.run))
    assert refused.status_code == 409
    assert f"cancel it first: POST {url(trained.run)}/cancel" in refused.json()["detail"]
    rows.change(world.db, trained.run, state="paused", watched=False)
    assert world.client.delete(url(trained.run)).status_code == 409
    end(trained)
    rows.change(world.db, trained.run, watched=True)
    refused = world.client.delete(url(trained.run))
    assert (refused.status_code, "still leaving" in refused.json()["detail"]) == (409, True)
    assert world.folder(trained.run).is_dir()


def test_what_has_a_pinned_checkpoint_is_not_deleted(world: Any, either: Any) -> None:
    world.client.put(f"{either.url}/500/pin")
    shutil.rmtree(either.folder / "checkpoints")
    refused = world.client.delete(url(either.run))
    assert refused.status_code == 409
    assert f"DELETE {either.url}/500/pin" in refused.json()["detail"]
    assert world.client.delete(f"{either.url}/500/pin").status_code == 204
    assert world.client.delete(url(either.run)).status_code == 204


def test_a_pin_of_what_is_deleted_meanwhile_is_not_promised(
    world: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.runs import keeping

    pin = keeping.pins.pin

    def pinning(*given: Any) -> bool:
        with world.db.begin() as session:  # its look at the pins comes before the pin, its commit behind it
            job = session.scalar(select(Job).where(Job.id == ended.run))
            deletion.begin(session, world.settings, job, mlflow=False)
            return pin(*given)

    monkeypatch.setattr(keeping.pins, "pin", pinning)
    assert world.client.put(f"{ended.url}/500/pin").status_code == 404
    assert world.client.delete(url(ended.run)).status_code == 204
    assert not world.folder(ended.run).exists()


def test_what_was_made_of_it_keeps_what_it_began_with(world: Any, ended: Any) -> None:
    source = {"job": ended.run}
    shutil.rmtree(ended.folder / "checkpoints")
    forks.trained(
        ended.folder, world.client.get(ended.url.removesuffix("/checkpoints")).json()["spec"], 500, images=500
    )
    reply = world.client.post("/v1/jobs", json={"from": source})
    assert reply.status_code == 201, reply.text
    fork = reply.json()["id"]
    assert world.client.delete(url(ended.run)).status_code == 204
    assert [item["step"] for item in world.client.get(f"/v1/jobs/{fork}/checkpoints").json()["items"]] == [500]
    told = world.client.get(f"/v1/jobs/{fork}/lineage").json()["ancestors"]
    assert told[0]["id"] == ended.run


def test_only_whose_it_is_and_administrators_pin_and_delete(world: Any, ended: Any) -> None:
    tokens = {
        name: world.client.post("/v1/tokens", json={"name": name, "scope": "user"}).json()["token"]
        for name in ("ada", "bob")
    }
    rows.change(world.db, ended.run, owner="ada")
    as_bob, as_ada = ({"Authorization": f"Bearer {tokens[name]}"} for name in ("bob", "ada"))
    for path in (url(ended.run), f"{ended.url}/500", f"{ended.url}/500/pin"):
        refused = world.client.delete(path, headers=as_bob)
        assert (refused.status_code, "ada's: only ada or an administrator" in refused.json()["detail"]) == (403, True)
    assert world.client.put(f"{ended.url}/500/pin", headers=as_bob).status_code == 403
    assert world.client.put(f"{ended.url}/500/pin", headers=as_ada).status_code == 200
    assert world.client.delete(f"{ended.url}/500/pin", headers=as_ada).status_code == 204
    assert world.client.delete(url(ended.run), headers=as_ada).status_code == 204


def test_an_idempotency_key_lives_as_long_as_its_job(world: Any) -> None:
    def submitted() -> str:
        reply = world.client.post("/v1/jobs", json={"recipe": "gan-digits"}, headers={"Idempotency-Key": "k"})
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    first = submitted()
    rows.change(world.db, first, state="cancelled")
    assert submitted() == first
    assert world.client.delete(f"/v1/jobs/{first}").status_code == 204
    assert submitted() != first


def test_its_driver_that_comes_back_is_nobody(world: Any, ended: Any) -> None:
    token = new_token()
    with world.db.begin() as session:
        tokens.add(session, token, "driver", Scope.JOB, ended.run, 1)
    call = {"url": f"/v1/jobs/{ended.run}/desired", "headers": {"Authorization": f"Bearer {token}"}}
    assert world.client.get(**call).status_code == 200
    assert world.client.delete(url(ended.run)).status_code == 204
    assert world.client.get(**call).status_code == 401


def test_who_follows_it_hears_the_end(world: Any, ended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.runs import stream

    rows.score(world.db, ended.run, 600, fid=2.0)
    monkeypatch.setattr(stream, "PAGE", 1)
    read = stream._read

    def deleting(*given: Any) -> Any:
        found = read(*given)
        world.client.delete(url(ended.run))
        return found

    monkeypatch.setattr(stream, "_read", deleting)
    reply = world.client.get(f"{url(ended.run)}/events")
    assert reply.status_code == 200
    assert reply.text.count("event:") == 1


# -- MLflow


@pytest.fixture
def tracked(world: Any, ended: Any) -> list[str]:
    """Its records: its own, and another that is its."""
    return track(world, ended.run)


def track(world: Any, run: str) -> list[str]:
    """A run's record, and those of two trials; another run has one, too."""
    world.registry.track(f"{run}0")
    found = [world.registry.track(name) for name in (run, f"{run}-t-00000", f"{run}-t-00001")]
    rows.change(world.db, run, mlflow_run_id=found[0])
    return found


def test_its_records_stay_unless_they_are_asked_for(world: Any, ended: Any, tracked: list[str]) -> None:
    assert world.client.delete(url(ended.run)).status_code == 204
    assert world.registry.records(tracked[0], ended.run) == tracked


def test_its_records_go_and_nobody_elses(world: Any, either: Any) -> None:
    tracked = track(world, either.run)
    assert world.client.delete(f"{url(either.run)}?mlflow=true").status_code == 204
    assert world.registry.records(tracked[0], either.run) == []
    assert len(world.registry.records("", f"{either.run}0")) == 1


def test_not_those_that_a_version_stands_on(world: Any, ended: Any, tracked: list[str]) -> None:
    name = f"model-{ended.run}"
    world.registry.add(name)
    world.registry.add(name, record=tracked[-1])
    refused = world.client.delete(f"{url(ended.run)}?mlflow=true")
    assert refused.status_code == 409
    assert f"{name} version 2" in refused.json()["detail"]
    assert world.folder(ended.run).is_dir()
    assert world.client.get(url(ended.run)).status_code == 200
    assert world.client.delete(url(ended.run)).status_code == 204
    assert world.registry.records(tracked[0], ended.run) == tracked


def test_not_those_of_which_a_version_was_made_meanwhile(
    world: Any, ended: Any, tracked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = deletion.finish

    def late(*given: Any) -> Any:
        world.registry.add(f"model-{ended.run}", record=tracked[-1])
        return finish(*given)

    monkeypatch.setattr(deletion, "finish", late)
    assert world.client.delete(f"{url(ended.run)}?mlflow=true").status_code == 204
    assert world.registry.records(tracked[0], ended.run) == tracked[-1:]


def test_an_mlflow_that_is_away_keeps_it_before_and_is_gone_on_with_behind(
    world: Any, ended: Any, tracked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.registry.unreachable = True
    away = world.client.delete(f"{url(ended.run)}?mlflow=true")
    assert (away.status_code, "without mlflow it can be deleted now" in away.json()["detail"]) == (503, True)
    assert world.folder(ended.run).is_dir()
    world.registry.unreachable = False
    finish = deletion.finish

    def late(*given: Any) -> Any:
        world.registry.unreachable = True
        return finish(*given)

    with monkeypatch.context() as patch:
        patch.setattr(deletion, "finish", late)
        reply = world.client.delete(f"{url(ended.run)}?mlflow=true")
    assert (reply.status_code, "its records in MLflow" in reply.json()["left"][0]) == (202, True)
    assert not world.folder(ended.run).exists()
    assert world.client.get(url(ended.run)).status_code == 404
    world.registry.unreachable = False
    assert world.client.delete(url(ended.run)).status_code == 204
    assert world.registry.records(tracked[0], ended.run) == []
    assert not unfinished(world, ended.run)


def test_without_an_mlflow_there_is_none_to_delete_from(
    world: Any, ended: Any, tracked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.client.app.state.context, "registry", None)
    refused = world.client.delete(f"{url(ended.run)}?mlflow=true")
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "mlflow")
    assert world.client.delete(url(ended.run)).status_code == 204


# -- crashes


class Crash(BaseException):
    """The process dies here."""


def dying(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Die at the call of that number to anything that changes what lies outside of the database."""
    left = [after]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            return function(*given, **options)

        return call

    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(deletion.shutil, "rmtree", counted(shutil.rmtree))
    monkeypatch.setattr(deletion, "_forget", counted(deletion._forget))
    monkeypatch.setattr("service.gateway.fake_registry.FakeRegistry.delete_record", counted(lambda *_: None))


@pytest.mark.parametrize("after", range(6))
def test_a_crash_between_any_two_steps_leaves_what_is_gone_on_with(
    parts: Any, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    run, settings = rows.run(parts.db, state="cancelled"), parts.settings
    save(parts.folder(run), 500)
    record = track(parts, run)[0]
    with parts.db.begin() as session:
        job = session.scalar(select(Job).where(Job.id == run))
        left = deletion.begin(session, settings, job, mlflow=True)
    with monkeypatch.context() as patch:
        dying(patch, after)
        try:
            deletion.finish(parts.db, settings, parts.registry, left)
        except Crash:
            assert unfinished(parts, run)
        else:
            assert after > 3, "there are that many steps at least"
    with parts.db.read() as session:
        assert session.scalar(select(Job).where(Job.id == run)) is None
        found = deletion.unfinished(session)
    for one in found:
        assert deletion.finish(parts.db, settings, parts.registry, one) == []
    assert list(settings.jobs_root.iterdir()) == []
    assert parts.registry.records(record, run) == []
    assert not unfinished(parts, run)


def test_a_crash_before_the_row_is_gone_leaves_all_of_it(parts: Any) -> None:
    run = rows.run(parts.db, state="cancelled")
    rows.score(parts.db, run, 500, fid=1.0)

    def crashing() -> None:
        with parts.db.begin() as session:
            job = session.scalar(select(Job).where(Job.id == run))
            deletion.begin(session, parts.settings, job, mlflow=False)
            raise Crash

    with pytest.raises(Crash):
        crashing()
    with parts.db.read() as session:
        assert session.scalar(select(JobEvent)).data == {"scores": {"fid": 1.0}}
    assert not unfinished(parts, run)


def test_a_folder_that_is_a_link_is_unlinked_and_what_it_leads_to_stays(world: Any, ended: Any, tmp_path: Path) -> None:
    folder, elsewhere = world.folder(ended.run), tmp_path / "elsewhere"
    (folder / "job.json").touch()
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert world.client.delete(url(ended.run)).status_code == 204
    assert not folder.is_symlink()
    assert (elsewhere / "job.json").exists()


def test_a_folder_that_can_not_be_removed_is_told_and_gone_on_with(
    world: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        reply = world.client.delete(url(ended.run))
    assert (reply.status_code, "Permission denied" in reply.json()["left"][0]) == (202, True)
    assert unfinished(world, ended.run)
    assert world.client.delete(url(ended.run)).status_code == 204
    assert not world.folder(ended.run).exists()
