"""Help of every verb, also of those that run in a process of their own: named as typed, whole, within the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import trainer.data.__main__
import trainer.launch.local
import trainer.plan.__main__
import trainer.publish.__main__
import trainer.report.__main__
import trainer.report.search.__main__
from service.cli.app import CHILDREN, app
from trainer.commandline import PROGRAM

ROOT = Path(__file__).parents[3]
PROGRAMS = {
    "agon": app,
    "agon data": trainer.data.__main__.app,
    "agon plan": trainer.plan.__main__.app,
    "agon train": trainer.launch.local.app,
    "agon report": trainer.report.__main__.app,
    "python -m trainer.publish": trainer.publish.__main__.app,
    "python -m trainer.report.search": trainer.report.search.__main__.app,
}
PASSED_ON = {verb.__name__ for verb in CHILDREN}
"""Verbs of which the help is another process's: it would take this one's place."""


def _commands() -> Iterator[tuple[str, list[str], Any]]:
    for name, program in PROGRAMS.items():
        yield from _below(name, [], typer.main.get_command(program))


def _below(name: str, words: list[str], command: Any) -> Iterator[tuple[str, list[str], Any]]:
    yield name, words, command
    for verb, child in getattr(command, "commands", {}).items():
        if name != "agon" or verb not in PASSED_ON:
            yield from _below(name, [*words, verb], child)


COMMANDS = list(_commands())


def _help(name: str, words: list[str], option: str, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TERMINAL_WIDTH", str(width))
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", width)
    found = CliRunner().invoke(PROGRAMS[name], [*words, option], prog_name=name)
    assert found.exit_code == 0, found.output
    return found.output


def _words(text: str) -> set[str]:
    return {re.sub(r"[`*│┃]", "", word) for word in text.split()} - {""}


@pytest.mark.parametrize(
    ("name", "words", "command"),
    [
        pytest.param(*case, id=" ".join([case[0], *case[1]]), marks=pytest.mark.long if len(case[1]) > 1 else ())
        for case in COMMANDS
    ],
)
def test_help_is_whole_and_fits_the_terminal(
    name: str, words: list[str], command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word of a help text is eaten as markup; nothing is wider than 80 columns; the usage is what was typed."""
    wide, narrow = (_help(name, words, option, width, monkeypatch) for option, width in (("--help", 2000), ("-h", 80)))
    given = [command.help or "", *(getattr(option, "help", None) or "" for option in command.params)]
    shown = _words(wide)
    missing = {
        word for text in given for word in _words(text) if word not in shown and word not in ("-", "```yaml", "```")
    }
    missing = {word for word in missing if not re.fullmatch(r"(`{3})?(yaml)?", word)}
    assert not missing, f"{missing} of the help isn't shown"
    assert f"Usage: {' '.join([name, *words])}" in narrow
    assert max(len(line.rstrip()) for line in narrow.splitlines()) <= 80


@pytest.mark.parametrize(
    ("name", "words", "command"), COMMANDS, ids=[" ".join([name, *words]) for name, words, _ in COMMANDS]
)
def test_a_default_that_is_told_in_words_is_an_options_default(name: str, words: list[str], command: Any) -> None:
    """It is shown as all others are, not as text that a style may eat."""
    for option in command.params:
        assert "[default" not in (getattr(option, "help", None) or ""), option.name


@pytest.mark.parametrize(
    ("verb", "usage"),
    [
        (["data"], "agon data"), (["data", "pack"], "agon data pack"), (["plan"], "agon plan"), (["train"], "agon train"),
        (["pull"], "agon pull"), (["sample"], "agon sample"), (["import"], "agon import"),
        (["import", "biggan-pytorch"], "agon import biggan-pytorch"),
    ],
)  # fmt: skip
def test_a_verb_that_runs_in_a_process_of_its_own_calls_itself_what_was_typed(
    agon: Any, became: Any, verb: list[str], usage: str
) -> None:
    for option in ("-h", "--help"):
        agon(*verb, option)
    for arguments, env in became:
        (module, words), program = (arguments[1], arguments[2:-1]), env[PROGRAM]
        assert " ".join([program, *words]) == usage
        assert module in ("trainer.data", "trainer.plan", "trainer.launch.local", "trainer.publish")
    assert len(became) == 2


@pytest.mark.long
def test_the_name_reaches_the_usage_of_the_process_and_none_below_it() -> None:
    env = os.environ | {PROGRAM: "agon data", "COLUMNS": "80"}
    code = (
        "import os, runpy, sys; sys.argv = ['x', '-h']\n"
        "try: runpy.run_module('trainer.data', run_name='__main__')\n"
        f"finally: print('left', os.environ.get({PROGRAM!r}))"
    )
    found = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "Usage: agon data " in found.stdout
    assert "left None" in found.stdout


def test_curl_in_the_documents_fails_where_the_api_refuses() -> None:
    """With -f a problem is an exit code: no picture that is a JSON document."""
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "docker").rglob("*"),
        *(ROOT / "k8s").rglob("*"),
    ]
    lines = [line for page in pages if page.is_file() for line in page.read_text(errors="replace").splitlines()]
    found = [line for line in lines if re.search(r"\bcurl .*(?:http|localhost|/v1/|\$)", line)]
    assert found
    assert [line for line in found if not re.search(r"\bcurl -[a-zA-Z]*f", line)] == []


def test_the_readme_names_every_verb() -> None:
    """Its list is complete, and names nothing else."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    line = next(text for text in (ROOT / "README.md").read_text().splitlines() if text.startswith("`up · down"))
    listed = [verb.strip().split()[0] for verb in line.strip("`.").split("·")]
    assert set(listed) == set(commands)
