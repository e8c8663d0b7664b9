"""`agon checkpoints`: what is kept of a job or a trial."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import best, save

Agon = Callable[..., Any]


@pytest.fixture
def job(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A job with three checkpoints; the command runs in an empty folder."""
    found: str = agon("submit", "dcgan-digits").out.strip()
    for step in (500, 1000, 1500):
        save(world.settings.jobs_root / found, step)
    best(world.settings.jobs_root / found, 1000)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return found


def test_they_are_listed(agon: Agon, job: str) -> None:
    for words in ((job,), ("list", "dcgan-digits")):
        found = agon("checkpoints", *words)
        lines = found.out.splitlines()
        assert (found.code, lines[0].split()) == (0, ["step", "images", "size", "scores", "written"]), found.err
        assert [line.split()[:5] for line in lines[1:]] == [
            ["1500", "96,000", "1", "kB", "newest"], ["1000", "64,000", "1", "kB", "best"], ["500", "32,000", "1", "kB", lines[3].split()[4]],
        ]  # fmt: skip
    told = json.loads(agon("checkpoints", job, "--json").out)
    assert [(item["step"], item["best"]) for item in told] == [(1500, False), (1000, True), (500, False)]
    shown = agon("show", job).out
    assert re.search(r"checkpoints +3 \(4 kB\): newest 1500, best 1000", shown)
    few = agon("checkpoints", job, "-n", "2")
    assert (len(few.out.splitlines()), "more than these 2" in few.err) == (3, True)


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.long
def test_one_is_downloaded_into_a_folder_of_its_own(agon: Agon, world: Any, job: str) -> None:
    for words, step, path in (
        ((), 1500, f"{job}-step-000001500"),
        (("best",), 1000, f"{job}-step-000001000"),
        (("500", "--out", "deep/one"), 500, "deep/one"),
    ):
        found = agon("checkpoints", "download", job, *words)
        assert (found.code, found.out.strip()) == (0, path), found.err
        assert files(Path(path)) == files(world.settings.jobs_root / job / f"checkpoints/step-{step:09d}")
    assert sorted(path.name for path in Path().iterdir()) == ["deep", f"{job}-step-000001000", f"{job}-step-000001500"]
    assert agon("checkpoints", "download", job, "500", "--out", "a.tar").out.strip() == "a.tar"
    with tarfile.open("a.tar") as tar:
        assert tar.getnames()[-1] == f"{job}-step-000000500/manifest.json"
    again = agon("checkpoints", "download", job)
    assert (again.code, "is there already" in again.err) == (1, True)
    missing = agon("checkpoints", "download", job, "7")
    assert (missing.code, f"agon checkpoints list {job} lists them" in missing.err) == (4, True)


def test_a_pinned_one_stays_until_it_is_unpinned(agon: Agon, world: Any, job: str) -> None:
    assert json.loads(agon("checkpoints", "pin", job, "best", "--json").out)["pinned"]
    refused = agon("checkpoints", "delete", job, "1000")
    assert refused.code == 4
    assert f"unpin it first: agon checkpoints unpin {job} 1000" in refused.err
    assert "as long as policy says" in agon("checkpoints", "unpin", job, "1000").err
    assert "step 1000 is deleted: 1 kB" in agon("checkpoints", "delete", job, "1000").err
    assert "step 500 is kept" in agon("checkpoints", "pin", job, "500").err
    shutil.rmtree(world.settings.jobs_root / job / "checkpoints/step-000000500")
    assert "only its pin had kept it" in agon("checkpoints", "unpin", job, "500").err
    assert [item["step"] for item in json.loads(agon("checkpoints", job, "--json").out)] == [1500]
    newest = agon("checkpoints", "delete", job, "latest")
    assert (newest.code, f"agon checkpoints list {job} lists them" in newest.err) == (4, True)


def test_what_is_no_step_is_refused(agon: Agon) -> None:
    for step in ("newest", "-1", "1.5", "9" * 19, "٣"):
        assert agon("checkpoints", "pin", "j-1", "--", step).code == 2
    for verb in ("download", "unpin", "delete"):
        assert agon("checkpoints", verb, "j-1", "newest").code == 2
