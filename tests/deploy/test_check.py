"""`make test` and `make test-long` run every part of the check, whichever failed before it, and the end names all that failed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / ".ci" / "check.sh"
LINT = ["ruff check", "ruff format", "types", "import rules"]
TEST = [*LINT, "fast tests", "system tests"]
LONG = ["long tests, properties with five times the examples", "long system tests"]
PART = """#!/bin/sh
case "$(basename "$0") $*" in
  "ruff check"*) part="ruff check" ;;
  "ruff format"*) part="ruff format" ;;
  mypy*) part="types" ;;
  lint-imports*) part="import rules" ;;
  *"-m not system and not long") part="fast tests" ;;
  *"-m system and not long tests/"*) part="system tests" ;;
  *"-m (long or hypothesis) and not system") part="long tests, properties with five times the examples" ;;
  *"-m long and system tests/"*) part="long system tests" ;;
esac
echo "$part" >> "$RAN"
[ "$part" != "$INTERRUPTED" ] || kill -INT "$PPID"
case "$FAILING" in *"[$part]"*) exit 3 ;; esac
"""


@pytest.fixture
def check(tmp_path):
    """Runs the check, or another command, with parts that only say that they ran → (its result, the parts that ran)."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("ruff", "mypy", "lint-imports", "pytest"):
        (tools / name).write_text(PART)
        (tools / name).chmod(0o755)

    def run(what: str | list[str], *failing: str, interrupted: str = ""):
        ran = tmp_path / "ran"
        ran.write_text("")
        said = {"BIN": str(tools), "RAN": str(ran), "INTERRUPTED": interrupted}
        said["FAILING"] = "".join(f"[{part}]" for part in failing)
        command = [CHECK, what] if isinstance(what, str) else what
        found = subprocess.run(command, env={**os.environ, **said}, capture_output=True, text=True, timeout=60)
        return found, ran.read_text().splitlines()

    return run


@pytest.mark.parametrize(("what", "parts"), [("test", TEST), ("long", LONG), ("lint", LINT)])
def test_all_parts_run_in_their_order_and_the_end_says_that_all_passed(check, what, parts):
    found, ran = check(what)
    assert (found.returncode, ran) == (0, parts)
    assert "all passed" in found.stdout.splitlines()[-1]


@pytest.mark.parametrize("failing", [["fast tests"], ["system tests"], ["types", "fast tests"], TEST])
def test_what_fails_hides_no_later_part_and_is_named_at_the_end(check, failing):
    found, ran = check("test", *failing)
    assert (found.returncode, ran) == (1, TEST)
    assert f"FAILED: {', '.join(failing)}" in found.stderr.splitlines()[-1]
    assert "all passed" not in found.stdout


@pytest.mark.parametrize("what", ["test", "long"])
def test_the_command_that_a_failed_part_names_runs_it_again_when_it_is_pasted(check, what):
    parts = TEST if what == "test" else LONG
    named = [line.partition("again: ")[2] for line in check(what, *parts)[0].stderr.splitlines() if "again: " in line]
    assert [check(["sh", "-c", command])[1] for command in named] == [[part] for part in parts]


def test_an_interrupt_ends_the_check_and_not_only_the_part_that_runs(check):
    found, ran = check("test", interrupted="fast tests")
    assert found.returncode in (130, -signal.SIGINT)
    assert ran == TEST[:5]
    assert "all passed" not in found.stdout
