"""`agon delete` and `agon search delete`: what has ended goes, and one is asked first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from service.cli import sure

Agon = Callable[..., Any]


@pytest.fixture
def job(agon: Agon, world: Any) -> str:
    """One that was cancelled before it began."""
    world.ray.unreachable = True
    found: str = agon("submit", "dcgan-digits").out.strip()
    agon("cancel", found)
    while "cancelled" not in agon("show", found).out:
        time.sleep(0.05)
    return found


def test_on_a_terminal_one_is_asked_first_and_it_goes(agon: Agon, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for yes in (False, True):
        monkeypatch.setattr(sure.typer, "confirm", lambda text, yes=yes, **_: asked.append(text) or yes)
        found = agon("delete", job)
        assert (found.code == 0, f"job {job} is deleted" in found.err) == (yes, yes)
    assert asked == [f"Delete job {job} (dcgan-digits)? This can't be undone."] * 2
    again = agon("delete", job, "--yes")
    assert (again.code, "agon jobs lists them" in again.err) == (4, True)


def test_what_could_not_be_removed_is_told(agon: Agon, world: Any, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.runs import deletion

    clear = deletion._clear
    monkeypatch.setattr(deletion, "_clear", lambda *_: ["its folder can't be removed: no"])
    found = agon("delete", job)
    assert (found.code, "its folder can't be removed: no. The same command again goes on" in found.err) == (1, True)
    monkeypatch.setattr(deletion, "_clear", clear)
    assert agon("delete", job).code == 0
    assert agon("delete", job).code == 4


@pytest.mark.long
def test_a_search_goes_alike_once_it_has_ended(agon: Agon, world: Any, tmp_path: Any) -> None:
    world.ray.unreachable = True
    path = tmp_path / "search.yaml"
    path.write_text(
        "{name: s, base: dcgan-digits, space: {optimizers.G.lr: [0.001, 0.002]}, metric: fid, trials: 2, algorithm: random}"
    )
    search = agon("search", "submit", str(path)).out.strip()
    refused = agon("search", "delete", search)
    assert (refused.code, f"cancel it first: agon search cancel {search}" in refused.err) == (4, True)
    agon("search", "cancel", search)
    while "cancelled" not in agon("search", "show", search).out:
        time.sleep(0.05)
    assert agon("search", "delete", search).code == 0
    assert agon("search", "show", search).code == 4
