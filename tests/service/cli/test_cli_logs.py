"""agon logs: what a terminal may have of a log, and whose."""

from __future__ import annotations

import json
import re
import tarfile
import threading
import time
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.client import Client
from service.gateway.ray_jobs import RayStatus
from trainer.plain import Plain, plain

Agon = Any
SEQUENCES = st.sampled_from(
    [
        "\x1b[31m",
        "\x1b[2J",
        "\x1b]0;title\x07",
        "\x1b]52;c;ZXZpbA==\x1b\\",
        "\x1bc",
        "\x1b(B",
        "\x9b5n",
        "\r\n",
        "\r",
        "\0",
        "\b",
        "\u202e",
    ]
)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;rm -rf\x07title", "title"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP+q544e\x1b\\asked", "asked"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
        ("nul\0bell\x07\x9b31mC1", "nulbell31mC1"),
        ("never ended \x1b]0;x\nthe next line", "never ended ]0;x\nthe next line"),
        ("tab\there, ä, 🙂", "tab\there, ä, 🙂"),
        ("\u202egnp.exe", "gnp.exe"),
    ],
)
def test_what_moves_a_cursor_or_sets_a_title_is_left_out(hostile: str, shown: str) -> None:
    assert plain(hostile) == shown


@examples(150)
@given(st.lists(SEQUENCES | st.text(max_size=5), max_size=12).map("".join), st.lists(st.integers(0, 60), max_size=6))
def test_a_log_that_comes_in_pieces_is_shown_as_one_that_comes_whole(text: str, cuts: list[int]) -> None:
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces, shown = Plain(), ""
    for begin, end in pairwise(bounds):
        shown += pieces.feed(text[begin:end])
    shown += pieces.end()
    assert not [char for char in shown if unicodedata.category(char) == "Cc" and char not in "\n\t"]
    assert shown == plain(text)


def kept(world: Any, job: str, name: str, text: str) -> None:
    path: Path = world.settings.jobs_root / job / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


@pytest.fixture
def job(agon: Agon, world: Any) -> str:
    """Two workers' job, in its first attempt."""
    found: str = agon("submit", "dcgan-digits", "--set", "resources.workers=2").out.strip()
    while not world.ray.starts:
        time.sleep(0.02)
    return found


def test_a_workers_log_is_asked_for_by_rank_and_printed_without_control_characters(
    agon: Agon, world: Any, job: str
) -> None:
    kept(world, job, "logs/attempt-1/rank-00001.log", "\x1b[31mlast words\x1b[0m of rank 1\n")
    assert agon("logs", job, "--rank", "1").out == "last words of rank 1\n"
    assert "no log yet" in agon("logs", job, "--rank", "0").err
    refused = agon("logs", job, "--rank", "2")
    assert (refused.code, "ranks 0 to 1" in refused.err) == (4, True)
    wrong = agon("logs", job, "--rank", "1", "--attempt", "2")
    assert (wrong.code, "1 attempt" in wrong.err) == (4, True)


def test_the_logs_that_are_kept_are_listed(agon: Agon, world: Any, job: str) -> None:
    assert "no logs yet" in agon("logs", job, "--list").err
    kept(world, job, "driver-1.log", "d")
    kept(world, job, "logs/attempt-1/rank-00001.log", "r" * 2000)
    rows = agon("logs", job, "--list").out.splitlines()
    assert [re.split(r"\s{2,}", row.strip())[:3] for row in rows] == [
        ["attempt", "rank", "size"],
        ["1", "driver", "1 B"],
        ["1", "1", "2 kB"],
    ]
    assert [log["rank"] for log in json.loads(agon("logs", job, "--list", "--json").out)] == [None, 1]


@pytest.mark.long
def test_a_log_is_followed_from_its_last_lines_through_its_attempts_to_the_end(
    agon: Agon, world: Any, job: str
) -> None:
    kept(world, job, "driver-1.log", "old 1\nold 2\n")
    (first,) = world.ray.starts

    def goes_on() -> None:
        time.sleep(0.7)
        kept(world, job, "driver-1.log", "its last \x1b[3")
        time.sleep(0.7)
        kept(world, job, "driver-1.log", "1mwords\n")
        world.ray.move(first, RayStatus.FAILED)
        while len(world.ray.starts) < 2:
            time.sleep(0.02)
        kept(world, job, "driver-2.log", "again\n")
        with Client(world.url, world.token) as client:
            client.cancel(job)
        world.ray.move(world.ray.starts[1], RayStatus.STOPPED)

    writer = threading.Thread(target=goes_on)
    writer.start()
    found = agon("logs", job, "-f", "--tail", "1")
    writer.join()
    assert found.out == "old 2\nits last words\nagain\n"
    assert "attempt 2" in found.err
    whole = agon("logs", job, "-f", "--attempt", "1").out
    assert whole == "old 1\n" + found.out


def test_a_search_prints_as_grep_does(agon: Agon, world: Any, job: str) -> None:
    kept(world, job, "driver-1.log", "all is well\n")
    kept(world, job, "logs/attempt-1/rank-00001.log", "one\n\x1b[31mNCCL error\x1b[0m\nthree\nfour\nfive\nan Error\n")
    found = agon("logs", job, "--search", "error", "--search", "WELL", "-C", "1")
    assert found.out.splitlines() == [
        "driver:1:all is well", "--",
        "rank 1-1-one", "rank 1:2:NCCL error", "rank 1-3-three", "--", "rank 1-5-five", "rank 1:6:an Error",
    ]  # fmt: skip
    assert agon("logs", job, "--search", "nccl", "--rank", "1").out == "rank 1:2:NCCL error\n"
    assert [line["line"] for line in json.loads(agon("logs", job, "--search", "Error", "--case", "--json").out)] == [6]
    none = agon("logs", job, "--search", "nothing of that kind")
    assert (none.code, none.out) == (1, "")
    assert "no line of" in none.err
    refused = agon("logs", job, "--search", "")
    assert (refused.code, "--search" in refused.err) == (2, True)


def test_a_log_and_all_logs_are_fetched_byte_for_byte(agon: Agon, world: Any, job: str, tmp_path: Path) -> None:
    kept(world, job, "driver-1.log", "\x1b[31mred\n")
    kept(world, job, "logs/attempt-1/rank-00001.log", "r\n")
    one, everything = tmp_path / "new/one.log", tmp_path / "all.tar"
    assert agon("logs", job, "--out", str(one)).out == f"{one}\n"
    assert one.read_text() == "\x1b[31mred\n"
    assert agon("logs", job, "--all", "--out", str(everything)).code == 0
    with tarfile.open(everything) as archive:
        assert archive.getnames() == [f"{job}-logs/attempt-1/driver.log", f"{job}-logs/attempt-1/rank-00001.log"]
    missing = agon("logs", job, "--rank", "5", "--out", str(tmp_path / "none.log"))
    assert (missing.code, sorted(path.name for path in tmp_path.glob("*none*"))) == (4, [])


@pytest.mark.parametrize(
    "options",
    [
        ("--follow", "--search", "x"), ("--all", "--list"), ("-C", "1"), ("--case",), ("--json",), ("--tail", "1", "--all"),
        ("--out", "f", "--follow"), ("--rank", "1", "--all"), ("--tail", "1", "--out", "f"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said_before_anything_is_asked(agon: Agon, options: tuple[str, ...]) -> None:
    refused = agon("logs", "j", *options)
    assert refused.code == 2
    assert "go" in refused.err or "give one" in refused.err
