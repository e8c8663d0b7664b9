"""Completion in the shell: what the command answers, and that bash gets it from what is installed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from service.cli.app import app

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("agon sam", {"samples", "sample"}),
        ("agon models ", {"list", "show", "alias"}),
        ("agon search pa", {"pause"}),
        ("agon samples --st", {"--step"}),
        ("agon tokens create --scope ", {"viewer", "user", "admin"}),
    ],
)
def test_what_is_begun_is_completed(agon: Any, monkeypatch: pytest.MonkeyPatch, line: str, expected: set[str]) -> None:
    words = line.split(" ")
    monkeypatch.setenv("_AGON_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert set(agon().out.split()) == expected


def test_every_verb_is_offered(agon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AGON_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "agon ")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert set(agon().out.split()) == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.long
def test_bash_completes_verbs_once_it_is_installed(tmp_path: Path) -> None:
    """By the command's own entry point, in a home of its own."""
    bash = shutil.which("bash")
    assert bash is not None
    command = tmp_path / "bin/agon"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from service.cli import main; main()" "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    env = {
        **os.environ, "HOME": str(tmp_path), "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }  # fmt: skip
    subprocess.run([command, "--install-completion", "bash"], env=env, check=True, capture_output=True, timeout=120)
    script = (
        '. "$HOME/.bashrc"; f=$(complete -p agon | sed "s/.* -F \\([^ ]*\\) agon/\\1/");'
        ' COMP_WORDS=(agon data); COMP_CWORD=1; COMP_LINE="agon data"; COMP_POINT=9; $f agon data agon; echo "${COMPREPLY[@]}"'
    )
    found = subprocess.run([bash, "-c", script], env=env, check=True, capture_output=True, text=True, timeout=120)
    assert set(found.stdout.split()) == {"data", "datasets"}, found
