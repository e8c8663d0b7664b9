"""`agon report`: a job's page comes from the API; anything else is made by the trainer, in the command's place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Agon = Callable[..., Any]
PAGE = "<!doctype html><title>digits é</title>"


@pytest.fixture
def job(agon: Agon, world: Any) -> str:
    """A job with a page."""
    found: str = agon("submit", "dcgan-digits").out.strip()
    folder = world.settings.jobs_root / found
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(PAGE, encoding="utf-8")
    return found


def test_a_jobs_newest_page_is_fetched_by_id_and_by_name(agon: Agon, job: str, tmp_path: Path) -> None:
    for name in (job, "dcgan-digits"):
        out = tmp_path / name / "deeper"
        found = agon("report", name, "--out", str(out))
        assert found.code == 0, found.err
        assert found.out.strip() == str(out / "report.html")
        assert (out / "report.html").read_text(encoding="utf-8") == PAGE
        assert [path.name for path in out.iterdir()] == ["report.html"]
    shown = json.loads(agon("report", job, "--out", str(tmp_path), "--json").out)
    assert shown == {"path": str(tmp_path / "report.html"), "target": job}


def test_open_shows_the_page_in_a_browser(
    agon: Agon, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    agon("report", job, "--out", str(tmp_path), "--open")
    assert opened == [(tmp_path / "report.html").as_uri()]


def test_a_job_without_a_page_says_what_to_do(agon: Agon, world: Any, tmp_path: Path) -> None:
    name = agon("submit", "dcgan-digits").out.strip()
    found = agon("report", name, "--out", str(tmp_path / "out"))
    assert found.code == 4
    assert "evaluation.every_steps" in found.err
    assert not (tmp_path / "out").exists()


def test_a_name_that_no_job_has_is_a_model(
    agon: Agon, world: Any, became: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGON_MLFLOW_URI", "http://mlflow.test")
    found = agon("report", "demo", "--out", "r", "--data", "shards", "--json")
    assert "looking for a model" in found.err
    ((arguments, env),) = became
    assert arguments == ["-m", "trainer.report", "demo", "--out", "r", "--data", "shards", "--json"]
    assert env["MLFLOW_TRACKING_URI"] == "http://mlflow.test"


@pytest.mark.parametrize("name", ["demo@champion", "demo/3", "models:/demo/3"])
def test_what_can_only_be_a_model_asks_no_api(
    agon: Agon, became: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine.test")
    agon("report", name, "--out", "r")
    ((arguments, env),) = became
    assert arguments[2] == name
    assert env["MLFLOW_TRACKING_URI"] == "http://mine.test"


def test_a_folder_needs_neither_api_nor_registry(agon: Agon, became: Any, tmp_path: Path) -> None:
    agon("report", str(tmp_path), "--out", "r", "--held-out", "h")
    ((arguments, env),) = became
    assert arguments == ["-m", "trainer.report", str(tmp_path), "--out", "r", "--held-out", "h"]
    assert "MLFLOW_TRACKING_URI" not in env


def test_data_for_a_job_are_refused_instead_of_ignored(agon: Agon, job: str, tmp_path: Path) -> None:
    found = agon("report", job, "--out", str(tmp_path), "--data", "shards")
    assert found.code == 2
    assert "--data" in found.err


def test_without_a_stack_it_says_how_to_get_one(agon: Agon, tmp_path: Path) -> None:
    found = agon("report", "dcgan-digits", "--out", str(tmp_path))
    assert found.code == 3
    assert "agon up" in found.err
