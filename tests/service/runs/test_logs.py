"""Logs by attempt and rank: whole, by tail, by place; and nothing else of the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.bodies.searches import EXAMPLE
from service.gateway.ray_jobs import RayStatus
from service.runs import logs, store
from service.runs.logs import Log
from trainer.search.trial import trial_dir


def written(folder: Path, *parts: bytes, rank: int | None = 3, numbers: tuple[int, ...] = ()) -> Log:
    """A log of these parts."""
    log = Log(folder, folder / "j-1", 1, rank)
    for number, part in zip(numbers or range(1, len(parts) + 1), parts, strict=True):
        log.path(number).parent.mkdir(parents=True, exist_ok=True)
        log.path(number).write_bytes(part)
    return log


def followed(log: Log, most: int | None = None) -> tuple[str, int]:
    """All of it as one gets it who follows it, and where that ended."""
    text, end = "", 0
    while (piece := logs.piece(log, end, most)).text:
        assert piece.end > end
        text, end = text + piece.text, piece.end
    return text, end


# -- reading


@examples(60)
@given(
    text=st.text(st.characters(codec="utf-8"), max_size=60),
    cuts=st.lists(st.integers(0, 200), max_size=4),
    most=st.integers(4, 9),
)
def test_whoever_follows_a_log_gets_every_character_once_wherever_pieces_and_parts_are_cut(
    tmp_path_factory: pytest.TempPathFactory, text: str, cuts: list[int], most: int
) -> None:
    data = text.encode()
    ends = sorted({cut for cut in cuts if cut < len(text)})
    bounds = [len(text[:end].encode()) for end in ends]
    parts = [data[begin:end] for begin, end in zip([0, *bounds], [*bounds, len(data)], strict=True)]
    log = written(tmp_path_factory.mktemp("run"), *parts)
    assert followed(log, most)[0] == text
    pieces, end = logs.whole(log)
    assert b"".join(pieces) == data
    assert logs.piece(log, end).text == ""
    assert logs.tail(log, 1000) == logs.Piece(text, end)


@examples(60)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=3), st.integers(4, 9))
def test_bytes_that_are_no_text_stop_nobody(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], most: int
) -> None:
    log = written(tmp_path_factory.mktemp("run"), *parts, b"end")
    assert followed(log, most)[0].endswith("end")
    pieces, end = logs.whole(log)
    assert b"".join(pieces) == b"".join(parts) + b"end"
    assert logs.tail(log, 1000).end == end
    for place in range(0, 30, 7):
        logs.piece(log, place)


def test_what_was_removed_from_a_long_log_is_told_in_its_place(tmp_path: Path) -> None:
    log = written(tmp_path, b"begins\n", b"goes on\n", b"ends\n", numbers=(1, 5, 6))
    expected = (
        "begins\n\n--- parts 2 to 4 of this log are removed: it keeps its beginning and its end ---\ngoes on\nends\n"
    )
    assert followed(log)[0] == expected
    pieces, end = logs.whole(log)
    assert b"".join(pieces).decode() == expected
    assert (logs.tail(log, 3).text, logs.tail(log, 3).end) == (
        "--- parts 2 to 4 of this log are removed: it keeps its beginning and its end ---\ngoes on\nends\n",
        end,
    )
    assert logs.gap(1, 3) == "\n--- part 2 of this log is removed: it keeps its beginning and its end ---\n"


def test_one_who_was_slow_goes_on_behind_what_was_removed_meanwhile(tmp_path: Path) -> None:
    log = written(tmp_path, b"one\n", b"two\n")
    seen = logs.piece(log, logs.piece(log, 0).end)
    assert seen.text == "two\n"
    log.path(2).unlink()
    written(tmp_path, b"five\n", numbers=(5,))
    gap = logs.piece(log, seen.end)
    assert "parts 3 to 4" in gap.text
    assert logs.piece(log, gap.end).text == "five\n"


def test_a_log_that_is_written_while_it_is_read_is_told_as_it_was_when_it_was_asked_for(tmp_path: Path) -> None:
    log = written(tmp_path, b"one\n", b"two\n")
    pieces, end = logs.whole(log)
    with log.path(2).open("ab") as file:
        file.write(b"more\n")
    written(tmp_path, b"three\n", numbers=(3,))
    assert b"".join(pieces) == b"one\ntwo\n"
    assert logs.piece(log, end).text == "more\n"
    pieces, _ = logs.whole(log)
    log.path(2).unlink()
    assert b"part 2 of this log is removed" in b"".join(pieces)


def test_the_last_lines_of_a_log_without_end_are_found_without_reading_it(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    log = written(tmp_path, b"", text.encode())
    found = logs.tail(log, 3, most=100)
    assert (found.text, found.end) == ("line 997\nline 998\nline 999\n", logs.place(2, len(text)))
    with log.path(3).open("wb") as file:  # a line of 100 MB, as a file with a hole has it
        file.truncate(100 * 2**20)
    assert len(logs.tail(log, 5).text) == logs.MAX_TAIL
    assert len(logs.piece(log, logs.place(3, 0)).text) == logs.MAX_PIECE


def test_a_place_is_bytes_from_the_beginning_until_the_log_goes_on_in_another_part() -> None:
    assert logs.place(1, 123) == 123
    assert logs.split(logs.place(7, 123)) == (7, 123)


@pytest.mark.parametrize("where", ["file", "attempt", "logs", "folder", "pipe", "directory"])
def test_no_link_and_no_pipe_is_read(tmp_path: Path, where: str) -> None:
    root, secret = tmp_path / "jobs", tmp_path / "secret"
    written(secret, b"secret\n")
    written(secret / "j-1", b"secret\n")
    log = Log(root, root / "j-1", 1, 3)
    target = {"file": log.path(), "attempt": log.path().parent, "logs": root / "j-1/logs", "folder": root / "j-1"}
    path = target.get(where, log.path())
    path.parent.mkdir(parents=True)
    if where == "pipe":
        os.mkfifo(path)
    elif where == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "secret" / path.relative_to(root))
        assert path.exists()
    assert (log.parts(), log.exists(), followed(log)[0], logs.tail(log, 5).text) == ([], False, "", "")
    assert b"".join(logs.whole(log)[0]) == b""
    assert all(not found.exists() for found in logs.logs(root, root / "j-1"))
    outside = Log(root, secret / "j-1", 1, 3)
    assert (outside.parts(), logs.logs(root, secret / "j-1")) == ([], [])


# -- the endpoints


def kept(world: Any, job: str, name: str, text: str | bytes) -> Path:
    """A log in the run's folder."""
    path: Path = world.folder(job) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def attempts(world: Any, job: str, count: int) -> None:
    with world.db.begin() as session:
        store.get(session, job, None).attempt = count


def test_every_log_is_listed_newest_attempt_first_page_by_page(world: Any) -> None:
    job = world.running(resources={"workers": 2})
    attempts(world, job, 2)
    kept(world, job, "driver-1.log", "one")
    kept(world, job, "logs/attempt-1/rank-00000.log", "zero")
    kept(world, job, "driver-2.log", "two")
    for rank in (1, 0):
        kept(world, job, f"logs/attempt-2/rank-{rank:05d}.log", f"rank {rank}")
    kept(world, job, "logs/attempt-2/rank-00001.part-00004.log", "more")
    kept(world, job, "logs/attempt-2/notes.txt", "no log")
    url = f"/v1/jobs/{job}/logs/list"
    listed = world.client.get(url).json()["items"]
    assert [(item["attempt"], item["rank"], item["bytes"], item["cut"]) for item in listed] == [
        (2, None, 3, False),
        (2, 0, 6, False),
        (2, 1, 10, True),
        (1, None, 3, False),
        (1, 0, 4, False),
    ]
    texts = [world.client.get(item["url"]).text for item in listed]
    assert texts[:2] == ["two", "rank 0"]
    assert texts[2].startswith("rank 1")
    assert texts[2].endswith("more")
    paged, cursor = [], None
    while True:
        reply = world.client.get(url, params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        paged, cursor = paged + reply["items"], reply["next_cursor"]
        if cursor is None:
            break
    assert paged == listed


def test_a_worker_is_asked_for_by_its_rank_and_what_can_not_be_is_refused_with_what_can(world: Any) -> None:
    job = world.running(resources={"workers": 2})
    attempts(world, job, 2)
    kept(world, job, "logs/attempt-2/rank-00001.log", "of rank 1\n")
    url = f"/v1/jobs/{job}/logs"
    reply = world.client.get(url, params={"rank": 1, "tail": 1})
    assert (reply.text, reply.headers["x-log-rank"], reply.headers["x-log-attempt"]) == ("of rank 1\n", "1", "2")
    assert (reply.headers["x-log-offset"], "x-log-rank" in world.client.get(url).headers) == ("10", False)
    beginning = world.client.get(url, params={"rank": 0})
    assert (beginning.status_code, beginning.text) == (200, ""), "it may come"
    missing = world.client.get(url, params={"rank": 2})
    assert (missing.status_code, missing.json()["detail"]) == (404, f"job {job} has ranks 0 to 1")
    left_none = world.client.get(url, params={"rank": 1, "attempt": 1})
    assert left_none.status_code == 404
    assert f"GET {url}/list" in left_none.json()["detail"]
    assert world.client.get(url, params={"rank": "x"}).status_code == 422


def test_a_trials_log_is_its_first_workers_and_a_searchs_is_its_drivers(world: Any) -> None:
    search = world.client.post("/v1/searches", json={"search": EXAMPLE}).json()["id"]
    world.round()
    trial = {"id": "t-00003", "number": 3, "values": {"optimizers.G.lr": 1e-4}}
    told = {"seq": 1, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": "trial", "data": trial}
    assert world.send(search, told).status_code == 200
    kept(world, search, "driver-1.log", "of the search\n")
    folder = trial_dir(world.folder(search), "t-00003").relative_to(world.folder(search))
    kept(world, search, f"{folder}/logs/attempt-1/rank-00000.log", "of the trial\n")
    of_search, of_trial = f"/v1/searches/{search}/logs", f"/v1/searches/{search}/trials/t-00003/logs"
    assert world.client.get(of_search).text == "of the search\n"
    assert world.client.get(of_trial).text == world.client.get(of_trial, params={"rank": 0}).text == "of the trial\n"
    assert [item["rank"] for item in world.client.get(of_search + "/list").json()["items"]] == [None]
    assert [item["url"] for item in world.client.get(of_trial + "/list").json()["items"]] == [
        f"{of_trial}?attempt=1&rank=0"
    ]
    for url, rank, where in (
        (of_trial, "driver", of_search),
        (of_search, "0", f"/v1/searches/{search}/trials/{{trial}}/logs"),
    ):
        refused = world.client.get(url, params={"rank": rank})
        assert (refused.status_code, f"GET {where}" in refused.json()["detail"]) == (404, True), refused.text
    assert world.client.get(of_trial.replace("t-00003", "t-00004")).status_code == 404


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "one\ntwo\nthree\n"),
        ({"tail": 2}, "two\nthree\n"),
        ({"offset": 5}, "wo\nthree\n"),
        ({"offset": 5, "tail": 1}, "three\n"),
        ({"offset": 99}, ""),
    ],
)
def test_logs_come_from_ray_and_outlive_it(world: Any, params: dict[str, int], expected: str) -> None:
    job = world.running()
    world.ray.output[f"agon-{job}-1"] = "one\ntwo\nthree\n"
    assert world.client.get(f"/v1/jobs/{job}/logs", params=params).text == expected
    world.ray.move(f"agon-{job}-1", RayStatus.STOPPED)
    world.round()
    world.ray.unreachable = True
    assert world.client.get(f"/v1/jobs/{job}/logs", params=params).text == expected


def test_what_the_driver_wrote_itself_is_served_without_asking_ray_and_of_every_attempt(world: Any) -> None:
    job = world.running()
    folder = world.folder(job)
    (folder / "driver-1.log").write_text("begins\n")
    world.ray.unreachable = True
    assert world.client.get(f"/v1/jobs/{job}/logs").text == "begins\n"
    with world.db.begin() as session:
        store.get(session, job).attempt = 2
    (folder / "driver-2.log").write_text("again\n")
    for params, expected in (({}, "again\n"), ({"attempt": 1}, "begins\n"), ({"attempt": 2}, "again\n")):
        reply = world.client.get(f"/v1/jobs/{job}/logs", params=params)
        assert (reply.text, reply.headers["x-log-attempt"]) == (expected, str(params.get("attempt", 2)))
    missing = world.client.get(f"/v1/jobs/{job}/logs", params={"attempt": 3})
    assert (missing.status_code, missing.json()["detail"]) == (404, f"job {job} has had 2 attempts so far")


def test_a_whole_log_is_sent_piece_by_piece_up_to_where_it_ended_when_it_was_asked_for(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_PIECE", 8)
    job = world.running()
    log = world.folder(job) / "driver-1.log"
    text = "größer 🙂\n" * 10
    log.write_bytes(text.encode() + "🙂".encode()[:3])
    reply = world.client.get(f"/v1/jobs/{job}/logs")
    assert (reply.text, reply.headers["x-log-offset"]) == (text, str(len(text.encode())))
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    pieces, _ = logs.whole(Log(world.settings.jobs_root, world.folder(job), 1))
    assert len(next(pieces)) == 8
    with log.open("ab") as file:
        file.write(b"more")
    assert len(b"".join(pieces)) == len(text.encode()) - 8


def test_logs_of_a_running_job_say_when_ray_is_away(world: Any) -> None:
    job = world.running()
    world.ray.unreachable = True
    reply = world.client.get(f"/v1/jobs/{job}/logs")
    assert reply.status_code == 503
    assert "can't be reached" in reply.json()["detail"]


def test_a_job_that_never_started_has_an_empty_log(world: Any) -> None:
    assert world.client.get(f"/v1/jobs/{world.submit()}/logs").text == ""
