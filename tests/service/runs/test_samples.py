"""Sample grids: every one that is kept, by its step, and its single images; and nothing else of the disk."""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.bodies.searches import EXAMPLE
from trainer.images import GridFacts, grid, save_png
from trainer.search.trial import trial_dir

COUNT, COLUMNS, SIDE = 10, 4, 16


def images(step: int) -> np.ndarray:
    """What G draws at that step."""
    return np.random.default_rng(step).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)


def draw(folder: Path, step: int, seed: int | None = None, shown: int | None = None) -> bytes:
    """Write the grid of a step as a training does; returns the file."""
    batch, path = images(step if seed is None else seed), folder / f"samples/step-{step:09d}.png"
    save_png(path, grid(batch, COLUMNS), GridFacts.of(batch, COLUMNS, step, shown or 64 * step))
    return path.read_bytes()


def told(world: Any, search: str, trial: dict[str, Any]) -> None:
    event = {"seq": 1, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": "trial", "data": trial}
    assert world.send(search, event).status_code == 200


@pytest.fixture(params=["job", "trial"])
def kept(request: pytest.FixtureRequest, world: Any) -> tuple[str, Path]:
    """Path of the resource and folder of something that trains."""
    if request.param == "job":
        job = world.running()
        return f"/v1/jobs/{job}/samples", world.folder(job)
    search = world.client.post("/v1/searches", json={"search": EXAMPLE}).json()["id"]
    world.round()
    told(world, search, {"id": "t-00003", "number": 3, "values": {"optimizers.G.lr": 1e-4}})
    return f"/v1/searches/{search}/trials/t-00003/samples", trial_dir(world.folder(search), "t-00003")


def test_every_grid_is_listed_newest_first_and_page_by_page(world: Any, kept: tuple[str, Path]) -> None:
    url, folder = kept
    assert world.client.get(f"{url}/steps").json() == {"items": [], "next_cursor": None}
    files = {step: draw(folder, step) for step in (500, 1000, 1500, 2000, 999_999_999)}
    (folder / "samples/step-000000700.png").write_bytes(b"no picture")
    found, cursor = [], None
    while True:
        page = world.client.get(f"{url}/steps", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 2
        draw(folder, 1_000_000_000)  # what comes meanwhile neither repeats nor hides others
    assert [item["step"] for item in found] == sorted(files, reverse=True)
    for item in found:
        assert item["bytes"] == len(files[item["step"]])
        assert item["images"] == 64 * item["step"]
        assert item["tiles"] == {"count": COUNT, "columns": COLUMNS, "height": SIDE, "width": SIDE}
        assert world.client.get(item["url"]).content == files[item["step"]]


def test_the_newest_is_at_samples_and_each_at_its_step(world: Any, kept: tuple[str, Path]) -> None:
    url, folder = kept
    assert "no samples yet" in world.client.get(url).json()["detail"]
    first, second = draw(folder, 2), draw(folder, 10)
    newest = world.client.get(url)
    assert (newest.content, newest.headers["x-sample-step"]) == (second, "10")
    assert newest.headers["content-type"] == "image/png"
    assert newest.headers["content-length"] == str(len(second))
    assert world.client.get(f"{url}/2").content == first
    missing = world.client.get(f"{url}/3")
    assert missing.status_code == 404
    assert f"GET {url}/steps lists them" in missing.json()["detail"]
    assert world.client.get(url, headers={"Authorization": ""}).status_code == 401
    assert world.client.get(f"{url}/2", headers={"Authorization": ""}).status_code == 401


def test_a_tile_is_one_image_as_it_was_drawn(world: Any, kept: tuple[str, Path]) -> None:
    url, folder = kept
    draw(folder, 500)
    for number, expected in enumerate(images(500)):
        reply = world.client.get(f"{url}/500/tiles/{number}")
        assert reply.headers["content-type"] == "image/png"
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(reply.content))), expected)
    beyond = world.client.get(f"{url}/500/tiles/{COUNT}")
    assert beyond.status_code == 404
    assert "images 0 to 9" in beyond.json()["detail"]


def test_a_grid_that_does_not_say_how_it_is_laid_out_is_whole_or_not_at_all(world: Any, kept: tuple[str, Path]) -> None:
    url, folder = kept
    save_png(folder / "samples/step-000000500.png", grid(images(1), COLUMNS))
    (item,) = world.client.get(f"{url}/steps").json()["items"]
    assert (item["tiles"], item["images"]) == (None, None)
    assert world.client.get(f"{url}/500").status_code == 200
    refused = world.client.get(f"{url}/500/tiles/0")
    assert refused.status_code == 409
    assert "take the whole of it" in refused.json()["detail"]


@pytest.mark.parametrize("below", ["", "/500", "/500/tiles/3"])
def test_a_picture_that_is_known_is_not_sent_again(world: Any, kept: tuple[str, Path], below: str) -> None:
    url, folder = kept
    draw(folder, 500)
    reply = world.client.get(url + below)
    tag = reply.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f-]+"', tag)
    assert reply.headers["cache-control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = world.client.get(url + below, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), known
    assert world.client.get(url + below, headers={"If-None-Match": '"other"'}).status_code == 200
    draw(folder, 500, seed=1)
    changed = world.client.get(url + below, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert changed.content != reply.content
    again = draw(folder, 500, seed=1, shown=31_999)
    assert world.client.get(f"{url}/500", headers={"If-None-Match": tag}).content == again
    tag = changed.headers["etag"]
    assert world.client.get(url + below, headers={"If-None-Match": tag}).headers["etag"] != tag, "another of that size"


@pytest.mark.parametrize("below", ["", "/tiles/3"])
def test_what_may_be_kept_for_good_never_changes(world: Any, kept: tuple[str, Path], below: str) -> None:
    """Also where training went back behind the step and drew it anew."""
    url, folder = kept
    draw(folder, 500)
    path, _, version = world.client.get(f"{url}/steps").json()["items"][0]["url"].partition("?")
    reply = world.client.get(f"{path}{below}?{version}")
    assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"
    known = {"If-None-Match": reply.headers["etag"]}
    assert world.client.get(f"{path}{below}?{version}", headers=known).status_code == 304
    draw(folder, 500, seed=1)
    gone = world.client.get(f"{path}{below}?{version}", headers=known)
    assert gone.status_code == 404
    assert "anew" in gone.json()["detail"]
    assert "immutable" not in gone.headers.get("cache-control", "")
    assert world.client.get(f"{url}/steps").json()["items"][0]["url"] != f"{path}?{version}"


def test_nothing_is_served_that_lies_elsewhere(world: Any, kept: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = kept
    elsewhere = tmp_path / "elsewhere"
    secret = draw(elsewhere, 500)
    samples = folder / "samples"
    samples.mkdir(parents=True)
    (samples / "step-000000500.png").symlink_to(elsewhere / "samples/step-000000500.png")
    os.mkfifo(samples / "step-000000501.png")
    (samples / "step-000000502.png").mkdir()
    _nothing(world, url, secret)
    for entry in samples.iterdir():
        entry.rmdir() if entry.is_dir() else entry.unlink()
    samples.rmdir()
    samples.symlink_to(elsewhere / "samples")  # the folder itself
    _nothing(world, url, secret)
    samples.unlink()
    other = world.folder("j-0123456789ab")
    secret = draw(other, 500)
    samples.symlink_to(other / "samples")  # another job's
    _nothing(world, url, secret)


def _nothing(world: Any, url: str, secret: bytes) -> None:
    assert world.client.get(f"{url}/steps").json()["items"] == []
    for path in (url, *(f"{url}/{step}{below}" for step in (500, 501, 502) for below in ("", "/tiles/0"))):
        reply = world.client.get(path)
        assert reply.status_code == 404, path
        assert secret not in reply.content


@pytest.mark.parametrize(
    "path", ["/-1", "/1e3", "/5.0", "/500/tiles/-1", "/500/tiles/x", "/..%2f..%2fjob", f"/{10**18}"]
)
def test_what_is_no_step_and_no_tile_is_refused(world: Any, path: str) -> None:
    job = world.running()
    draw(world.folder(job), 500)
    assert world.client.get(f"/v1/jobs/{job}/samples{path}").status_code in (404, 422)


def test_of_a_job_that_is_not_there_nothing_is_looked_for(world: Any) -> None:
    search = world.client.post("/v1/searches", json={"search": EXAMPLE}).json()["id"]
    for path in ("/v1/jobs/nope", f"/v1/searches/{search}/trials/t-00000", "/v1/searches/nope/trials/t-00000"):
        for below in ("", "/steps", "/500", "/500/tiles/0"):
            assert world.client.get(f"{path}/samples{below}").status_code == 404, (path, below)
