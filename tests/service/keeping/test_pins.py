"""A pinned checkpoint stays, whatever removes the training's own; and what may be deleted."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import rows
from checkpoints import save
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.runs import checkpoints, pins


def own(trained: Any, step: int) -> Path:
    """Where training wrote it."""
    path: Path = trained.folder / f"checkpoints/step-{step:09d}"
    return path


def steps(world: Any, trained: Any) -> dict[int, bool]:
    """Those that are listed, and whether they are pinned."""
    return {item["step"]: item["pinned"] for item in world.client.get(trained.url).json()["items"]}


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_it_stays_when_training_removes_its_own_and_takes_no_space(world: Any, trained: Any) -> None:
    for step in (500, 1000, 1500):
        save(trained.folder, step)
    before = contents(own(trained, 500))
    for _ in range(2):
        reply = world.client.put(f"{trained.url}/500/pin")
        assert (reply.status_code, reply.json()["pinned"], reply.json()["step"]) == (200, True, 500)
    pinned = trained.folder / "pinned/step-000000500"
    assert all((pinned / name).samefile(own(trained, 500) / name) for name in before)
    assert steps(world, trained) == {1500: False, 1000: False, 500: True}
    shutil.rmtree(own(trained, 500))
    assert steps(world, trained) == {1500: False, 1000: False, 500: True}
    assert contents(pinned) == before
    shutil.rmtree(trained.folder / "checkpoints")  # as a clone of population-based training does
    assert world.client.get(f"{trained.url}/latest").json()["step"] == 500


def test_latest_and_best_can_be_pinned(world: Any, job: Any) -> None:
    save(job.folder, 500)
    assert world.client.put(f"{job.url}/best/pin").status_code == 404
    assert world.client.put(f"{job.url}/latest/pin").json()["step"] == 500
    assert world.client.put(f"{job.url}/7/pin").status_code == 404


def test_once_unpinned_it_is_kept_as_long_as_training_does(world: Any, job: Any) -> None:
    for step in (500, 1000):
        save(job.folder, step)
        world.client.put(f"{job.url}/{step}/pin")
    shutil.rmtree(own(job, 500))
    for step in (500, 1000):
        assert world.client.delete(f"{job.url}/{step}/pin").status_code == 204
    assert steps(world, job) == {1000: False}, "only the pin had kept the other"
    assert world.client.delete(f"{job.url}/1000/pin").status_code == 204
    assert world.client.delete(f"{job.url}/500/pin").status_code == 404
    assert list((job.folder / "pinned").iterdir()) == []


def test_what_was_pinned_is_what_its_step_means_also_when_training_goes_back_behind_it(world: Any, job: Any) -> None:
    for step in (500, 1000):
        save(job.folder, step)
    before = contents(own(job, 1000))
    world.client.put(f"{job.url}/1000/pin")
    own(job, 1000).rename(job.folder / "checkpoints/sick-0-step-000001000")
    assert world.client.get(f"{job.url}/latest").json()["step"] == 500, "what training would go on from"
    assert steps(world, job) == {1000: True, 500: False}
    save(job.folder, 1000, state=b"another")
    told = {file["name"]: file["bytes"] for file in world.client.get(f"{job.url}/1000").json()["files"]}
    assert told["state.safetensors"] == len(before["state.safetensors"])
    world.client.delete(f"{job.url}/1000/pin")
    told = {file["name"]: file["bytes"] for file in world.client.get(f"{job.url}/1000").json()["files"]}
    assert told["state.safetensors"] == len(b"another")


def test_two_callers_at_once_pin_it_once(world: Any, job: Any) -> None:
    save(job.folder, 500)
    root = world.settings.jobs_root
    found = checkpoints.find(root, job.folder, 500)
    assert found is not None
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: pins.pin(root, job.folder, found), range(16)))
    assert [path.name for path in (job.folder / "pinned").iterdir()] == ["step-000000500"]


def test_one_that_training_removes_meanwhile_is_pinned_whole_or_not_at_all(
    world: Any, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, done = os.link, []

    def removing(source: Any, target: Any, **options: Any) -> None:
        link(source, target, **options)
        done.append(target)
        shutil.rmtree(own(job, 500), ignore_errors=True)

    save(job.folder, 500)
    save(job.folder, 1000)
    monkeypatch.setattr(checkpoints.os, "link", removing)
    reply = world.client.put(f"{job.url}/500/pin")
    assert (reply.status_code, len(done)) == (404, 1)
    assert f"GET {job.url} lists those" in reply.json()["detail"]
    assert list((job.folder / "pinned").iterdir()) == []


def test_where_links_are_not_possible_it_is_copied_and_a_full_disk_is_said(
    world: Any, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: Any, **__: Any) -> None:
        raise PermissionError("no hard links here")

    def no_space(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    save(job.folder, 500)
    monkeypatch.setattr(checkpoints.os, "link", no_link)
    with monkeypatch.context() as full:
        full.setattr(checkpoints.shutil, "copy2", no_space)
        reply = world.client.put(f"{job.url}/500/pin")
    assert (reply.status_code, "No space left" in reply.json()["detail"]) == (503, True)
    assert list((job.folder / "pinned").iterdir()) == []
    assert world.client.put(f"{job.url}/500/pin").status_code == 200
    assert contents(job.folder / "pinned/step-000000500") == contents(own(job, 500))


def test_pins_are_not_written_where_a_link_leads(world: Any, job: Any, tmp_path: Path) -> None:
    save(job.folder, 500)
    (tmp_path / "elsewhere").mkdir()
    (job.folder / "pinned").symlink_to(tmp_path / "elsewhere")
    assert world.client.put(f"{job.url}/500/pin").status_code == 503
    assert list((tmp_path / "elsewhere").iterdir()) == []


# -- deleting


def test_an_older_one_can_be_deleted_while_it_trains_the_newest_once_it_has_ended(
    world: Any, trained: Any, end: Callable[[Any], None]
) -> None:
    for step in (500, 1000, 1500):
        save(trained.folder, step)
    assert world.client.delete(f"{trained.url}/500").status_code == 204
    assert world.client.delete(f"{trained.url}/500").status_code == 404
    for name in ("latest", "1500"):
        refused = world.client.delete(f"{trained.url}/{name}")
        assert refused.status_code == 409
        assert "goes on from its newest checkpoint" in refused.json()["detail"]
        assert f"GET {trained.url} lists them" in refused.json()["detail"]
    end(trained)
    assert world.client.delete(f"{trained.url}/latest").status_code == 204
    assert steps(world, trained) == {1000: False}
    assert [path.name for path in (trained.folder / "checkpoints").iterdir()] == ["step-000001000"]


def test_a_pinned_one_is_deleted_only_once_it_is_unpinned(world: Any, job: Any, end: Callable[[Any], None]) -> None:
    for step in (500, 1000):
        save(job.folder, step)
    end(job)
    world.client.put(f"{job.url}/500/pin")
    shutil.rmtree(own(job, 500))
    refused = world.client.delete(f"{job.url}/500")
    assert refused.status_code == 409
    assert f"DELETE {job.url}/500/pin" in refused.json()["detail"]
    assert world.client.delete(f"{job.url}/500/pin").status_code == 204
    assert world.client.delete(f"{job.url}/500").status_code == 404


def test_one_whose_driver_is_still_leaving_has_not_ended(world: Any, job: Any, end: Callable[[Any], None]) -> None:
    save(job.folder, 500)
    end(job)
    rows.change(world.db, job.run, watched=True)
    refused = world.client.delete(f"{job.url}/latest")
    assert (refused.status_code, "still leaving" in refused.json()["detail"]) == (409, True)


@given(st.lists(st.tuples(st.sampled_from(["write", "prune", "pin", "unpin", "delete", "crash"]), st.integers(1, 4))))
@examples(25)
def test_a_pinned_one_is_found_with_the_bytes_that_it_had_after_any_history(history: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folder, promised, written = root / "j-1", dict[int, bytes](), 0
        folder.mkdir()
        for what, step in history:
            path, found = folder / f"checkpoints/step-{step:09d}", checkpoints.find(root, folder, step)
            if what == "write" and not path.exists():
                written += 1
                save(folder, step, state=f"state {written}".encode())
            elif what == "prune":
                shutil.rmtree(path, ignore_errors=True)
            elif what == "crash" and path.exists():  # half of it is there
                (path / "manifest.json").unlink(missing_ok=True)
            elif what == "pin" and found is not None:
                assert pins.pin(root, folder, found)
                promised.setdefault(step, (found.path / "state.safetensors").read_bytes())
            elif what == "unpin":
                promised.pop(step, None)
                pins.unpin(root, folder, step)
            elif what == "delete":
                pins.delete(root, folder, step)
            assert checkpoints.pins(root, folder) == set(promised)
            listed = {item.step: item for item in checkpoints.every(root, folder)}
            for kept, state in promised.items():
                assert (listed[kept].path / "state.safetensors").read_bytes() == state
            own_ones = {item.step for item in checkpoints.every(root, folder, pinned=False)}
            latest = checkpoints.find(root, folder, "latest")
            assert (latest.step if latest else None) == max(own_ones or promised or [None])
