"""Checkpoints of jobs and trials as resources: which there are, and what `latest` and `best` mean; nothing else of the disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from checkpoints import best, save


def steps(world: Any, url: str) -> list[int]:
    return [item["step"] for item in world.client.get(url).json()["items"]]


def test_complete_ones_are_listed_newest_first_and_page_by_page(world: Any, trained: Any) -> None:
    assert world.client.get(trained.url).json() == {"items": [], "next_cursor": None}
    for step in (500, 1000, 1500, 999_999_999, 1_000_000_000):
        save(trained.folder, step)
    (save(trained.folder, 2000) / "manifest.json").unlink()
    found, cursor = [], None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = world.client.get(trained.url, params=params).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 2
    assert [item["step"] for item in found] == [1_000_000_000, 999_999_999, 1500, 1000, 500]
    for item in found:
        path = trained.folder / f"checkpoints/step-{item['step']:09d}"
        manifest = json.loads((path / "manifest.json").read_text())
        told = {file["name"]: {"size": file["bytes"], "sha256": file["sha256"]} for file in item["files"]}
        assert told == manifest["files"]
        assert item["bytes"] == sum(file.stat().st_size for file in path.iterdir())
        assert item["images"] == 64 * item["step"]
        assert world.client.get(f"{trained.url}/{item['step']}").json() == item
        assert not item["pinned"]
    assert [item["newest"] for item in found] == [True, False, False, False, False]
    assert world.client.get(trained.url, headers={"Authorization": ""}).status_code == 401


def test_each_has_what_was_scored_at_its_step(world: Any, trained: Any) -> None:
    for step in (500, 1000, 1500):
        save(trained.folder, step)
    trained.score(500, 20.0)
    trained.score(1000, 30.0)
    trained.score(1000, 10.0)  # went back and scored anew
    scores = {item["step"]: item["scores"] for item in world.client.get(trained.url).json()["items"]}
    assert {step: found.get("fid") for step, found in scores.items()} == {500: 20.0, 1000: 10.0, 1500: None}
    if trained.run.startswith("j-"):
        assert scores[1000] == {"fid": 10.0, "kid": 1.0}


def test_latest_and_best_stand_for_a_step(world: Any, trained: Any) -> None:
    nothing = world.client.get(f"{trained.url}/latest")
    assert (nothing.status_code, "no complete checkpoint yet" in nothing.json()["detail"]) == (404, True)
    for step in (500, 1000, 1500):
        save(trained.folder, step)
    assert world.client.get(f"{trained.url}/latest").json()["step"] == 1500
    unscored = world.client.get(f"{trained.url}/best")
    assert (unscored.status_code, "none was scored" in unscored.json()["detail"]) == (404, True)
    best(trained.folder, 1000)
    found = world.client.get(f"{trained.url}/best").json()
    assert (found["step"], found["best"], found["newest"]) == (1000, True, False)
    shutil.rmtree(trained.folder / "checkpoints/step-000001000")
    assert world.client.get(f"{trained.url}/best").status_code == 404
    missing = world.client.get(f"{trained.url}/7")
    assert f"GET {trained.url} lists them" in missing.json()["detail"]


def test_what_names_no_checkpoint_is_refused(world: Any, job: Any) -> None:
    save(job.folder, 500)
    for name in ("newest", "-1", "1e3", "%252e%252e", "9" * 19, "step-000000500"):
        assert world.client.get(f"{job.url}/{name}").status_code in (404, 422), name


def test_a_damaged_record_of_the_best_is_none(world: Any, job: Any) -> None:
    save(job.folder, 500)
    for content in ("", "no JSON", "[]", '{"step": -1}', '{"step": 1e999}', '{"step": "x"}', "null"):
        (job.folder / "checkpoints/best.json").write_text(content)
        assert world.client.get(f"{job.url}/best").status_code == 404
        assert steps(world, job.url) == [500]


def test_what_is_damaged_is_not_listed(world: Any, job: Any) -> None:
    whole = save(job.folder, 1)

    def manifest(path: Path, **changes: Any) -> None:
        told = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps({**told, **changes}))

    (save(job.folder, 2) / "meta.json").unlink()
    with (save(job.folder, 3) / "state.safetensors").open("ab") as file:
        file.write(b"more")
    (save(job.folder, 4) / "manifest.json").write_text("no JSON")
    manifest(save(job.folder, 5), step=6)
    manifest(save(job.folder, 7), files={"../../job.json": {"size": 1, "sha256": "0" * 64}})
    manifest(save(job.folder, 8), files={"state.pkl": {"size": 1, "sha256": "0" * 64}})
    manifest(save(job.folder, 9), files={"meta.json": {"size": -1, "sha256": "0" * 64}})
    for name in (
        "step-1",
        "step-0000000010",
        "damaged-step-000000011",
        "sick-0-step-000000012",
        ".writing-step-000000013-7",
    ):
        shutil.copytree(whole, job.folder / "checkpoints" / name)
    assert steps(world, job.url) == [1]
    (whole / "meta.json").write_text("[1]")  # of another size
    assert steps(world, job.url) == []


def test_one_whose_meta_data_say_nothing_is_listed_without_images(world: Any, job: Any) -> None:
    path = save(job.folder, 500)
    size = (path / "meta.json").stat().st_size
    for content in ("[" * size, '{"clock": {"images": -1}}'.ljust(size), "x" * size):
        (path / "meta.json").write_text(content)
        assert world.client.get(f"{job.url}/500").json()["images"] is None


def test_nothing_is_listed_that_lies_elsewhere(world: Any, job: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    other = save(elsewhere, 500)
    folder = job.folder / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "step-000000500").symlink_to(other)
    linked = save(job.folder, 600)
    (linked / "meta.json").unlink()
    (linked / "meta.json").symlink_to(other / "meta.json")
    piped = save(job.folder, 700)
    (piped / "meta.json").unlink()
    os.mkfifo(piped / "meta.json")
    os.mkfifo(folder / "best.json")
    assert steps(world, job.url) == []
    assert world.client.get(f"{job.url}/best").status_code == 404
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere / "checkpoints")
    assert steps(world, job.url) == []
    for name in ("latest", "500"):
        assert world.client.get(f"{job.url}/{name}").status_code == 404
