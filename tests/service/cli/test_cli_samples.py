"""`agon samples`: the newest grid, one of a step, all, and single images, by job and by trial."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.images import GridFacts, grid, save_png

Agon = Callable[..., Any]
STEPS = (500, 1000, 1500)


def images(step: int) -> np.ndarray:
    """What G draws at that step."""
    return np.random.default_rng(step).integers(0, 256, (6, 16, 16, 1), dtype=np.uint8)


@pytest.fixture
def job(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A job with three grids; the command runs in an empty folder."""
    found: str = agon("submit", "dcgan-digits").out.strip()
    for step in STEPS:
        path = world.settings.jobs_root / found / f"samples/step-{step:09d}.png"
        save_png(path, grid(images(step), 3), GridFacts.of(images(step), 3, step, 64 * step))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return found


def kept(world: Any, job: str, step: int) -> bytes:
    """The grid's file."""
    found: bytes = (world.settings.jobs_root / job / f"samples/step-{step:09d}.png").read_bytes()
    return found


def test_the_newest_is_written_here_under_a_name_of_its_own(agon: Agon, world: Any, job: str) -> None:
    for name in (job, "dcgan-digits"):
        found = agon("samples", name)
        assert (found.code, found.out.strip()) == (0, f"{job}-step-000001500.png"), found.err
    assert [path.name for path in Path().iterdir()] == [f"{job}-step-000001500.png"]
    assert Path(found.out.strip()).read_bytes() == kept(world, job, 1500)


def test_a_step_goes_into_the_file_or_the_folder_that_is_named(agon: Agon, world: Any, job: str) -> None:
    assert agon("samples", job, "--step", "500", "--out", "deep/a.png").out.strip() == "deep/a.png"
    assert Path("deep/a.png").read_bytes() == kept(world, job, 500)
    for out in ("deep", "new/"):
        found = json.loads(agon("samples", job, "--step", "1000", "--out", out, "--json").out)
        assert found == [{"step": 1000, "path": f"{out.rstrip('/')}/{job}-step-000001000.png"}]
        assert Path(found[0]["path"]).read_bytes() == kept(world, job, 1000)
    missing = agon("samples", job, "--step", "7", "--out", "b.png")
    assert missing.code == 4
    assert f"agon samples {job} --list lists them" in missing.err
    assert not Path("b.png").exists()


def test_all_of_them_go_into_a_folder(agon: Agon, world: Any, job: str) -> None:
    for out, options in ((f"{job}-samples", ()), ("some", ("--out", "some"))):
        paths = agon("samples", job, "--all", *options).out.split()
        assert paths == [f"{out}/{job}-step-{step:09d}.png" for step in reversed(STEPS)]
        assert [Path(path).read_bytes() for path in paths] == [kept(world, job, step) for step in reversed(STEPS)]


def test_one_image_grows_up(agon: Agon, job: str) -> None:
    paths = agon("samples", job, "--all", "--tile", "4").out.split()
    assert len(paths) == len(STEPS)
    for path, step in zip(paths, reversed(STEPS), strict=True):
        assert path.endswith(f"{step:09d}-tile-0004.png")
        found = np.asarray(Image.open(BytesIO(Path(path).read_bytes())))
        np.testing.assert_array_equal(found, images(step)[4].squeeze(-1))
    (newest,) = agon("samples", job, "--tile", "4").out.split()
    assert Path(newest).read_bytes() == Path(paths[0]).read_bytes()
    beyond = agon("samples", job, "--tile", "6")
    assert (beyond.code, "images 0 to 5" in beyond.err) == (4, True)


def test_they_are_listed(agon: Agon, job: str) -> None:
    listed = agon("samples", job, "--list").out.splitlines()
    assert listed[0].split() == ["step", "images", "tiles", "size", "drawn"]
    assert [line.split()[:5] for line in listed[1:]] == [
        [str(step), f"{64 * step:,}", "6", "of", "16×16"] for step in reversed(STEPS)
    ]
    told = json.loads(agon("samples", job, "--list", "--json").out)
    assert [(grid["step"], grid["tiles"]["count"]) for grid in told] == [(step, 6) for step in reversed(STEPS)]
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--all",), ("--list",), ("--tile", "0")])
def test_before_the_first_it_says_so(agon: Agon, world: Any, options: tuple[str, ...]) -> None:
    job = agon("submit", "dcgan-digits").out.strip()
    found = agon("samples", job, *options)
    assert found.out == ""
    assert f"{job} has drawn no samples yet" in found.err
    assert found.code == (0 if options in (("--all",), ("--list",)) else 4)


@pytest.mark.parametrize(
    "options",
    [
        ("--step", "5", "--all"),
        ("--all", "--list"),
        ("--list", "--out", "x"),
        ("--list", "--tile", "1"),
        ("--step", "-1"),
    ],
)
def test_what_contradicts_itself_is_refused(agon: Agon, job: str, options: tuple[str, ...]) -> None:
    assert agon("samples", job, *options).code == 2
    assert list(Path().iterdir()) == []
