"""Verbs that run in a process of their own get the registry's address, whatever folders lie around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.cli import children


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder that was pulled before."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("verb", [["pull", "digits"], ["sample", "digits", "--encode"]])
def test_a_package_among_the_words_that_is_not_the_model_hides_no_running_stack(
    agon: Any, became: Any, package: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    """A second `agon pull digits ./digits` says that the folder exists, not that MLflow has no address."""
    monkeypatch.setenv("AGON_MLFLOW_URI", "http://mlflow.test")
    agon(*verb, str(package))
    ((arguments, env),) = became
    assert arguments == ["-m", "trainer.publish", *verb, str(package)]
    assert env["MLFLOW_TRACKING_URI"] == "http://mlflow.test"


def test_a_packages_folder_is_sampled_without_any_stack(agon: Any, became: Any, package: Path) -> None:
    agon("sample", str(package), "--out", "x.png")
    ((_, env),) = became
    assert "MLFLOW_TRACKING_URI" not in env
    assert children.known_tracking_uri() is None
