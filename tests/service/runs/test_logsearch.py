"""Words in logs, with the lines around them; and all logs in one archive."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.bodies.searches import EXAMPLE
from service.db.tables import Job
from service.runs import logarchive, logs, logsearch
from service.runs.logs import Log
from service.runs.logsearch import Hit, Place, Wanted, place_of, search
from trainer.search.trial import trial_dir

GO = threading.Event()


def written(folder: Path, *parts: bytes, rank: int | None = 3, numbers: tuple[int, ...] = ()) -> Log:
    log = Log(folder, folder / "j-1", 1, rank)
    for number, part in zip(numbers or range(1, len(parts) + 1), parts, strict=True):
        log.path(number).parent.mkdir(parents=True, exist_ok=True)
        log.path(number).write_bytes(part)
    return log


def all_hits(found: list[Log], wanted: Wanted, limit: int = 1000) -> list[Hit]:
    """Page by page."""
    hits: list[Hit] = []
    begin: Place | None = None
    while True:
        answer = search(found, wanted, limit, begin, GO)
        assert len(answer.hits) <= limit
        hits += answer.hits
        if answer.following is None:
            return hits
        begin = place_of(answer.following.cursor())
        assert begin == answer.following


LINES = st.lists(st.text(st.sampled_from("abAB é\t"), max_size=6), max_size=12)


@examples(40)
@given(
    several=st.lists(LINES, min_size=1, max_size=3),
    words=st.lists(st.text(st.sampled_from("abB é"), min_size=1, max_size=2), min_size=1, max_size=2),
    case=st.booleans(),
    context=st.integers(0, 2),
    limit=st.integers(1, 4),
    cut=st.integers(0, 30),
    closed=st.booleans(),
)
def test_every_line_that_has_a_word_is_found_once_with_its_number_and_its_place(
    tmp_path_factory: pytest.TempPathFactory, several: list[list[str]], words: list[str], case: bool, context: int,
    limit: int, cut: int, closed: bool,
) -> None:  # fmt: skip
    folder, found, expected = tmp_path_factory.mktemp("run"), [], []
    for rank, lines in enumerate(several):
        lines += [] if closed or not lines or lines[-1] else ["end"]  # an empty line is one by its newline
        data = "\n".join(lines).encode() + (b"\n" if closed and lines else b"")
        ends = data.rfind(b"\n", 0, cut) + 1  # parts are cut where a line ends
        found.append(written(folder, data[:ends], data[ends:], rank=rank))
        for number, line in enumerate(lines, start=1):
            low = (lambda text: text) if case else (lambda text: text.replace("A", "a").replace("B", "b"))
            if any(low(word) in low(line) for word in words):
                expected.append((rank, number, line))
    hits = all_hits(found, Wanted.of(words, case, context), limit)
    assert [(hit.log.rank, hit.line, hit.text) for hit in hits] == expected
    for hit in hits:
        assert logs.piece(hit.log, hit.offset).text.startswith(hit.text)
    for whole in all_hits(found, Wanted.of(words, case, context)):
        lines, at = several[whole.log.rank or 0], whole.line
        assert list(whole.before) == lines[max(0, at - 1 - context) : at - 1]
        assert whole.after == lines[at : at + context]


def test_a_line_without_end_and_bytes_that_are_no_text_are_looked_through_too(tmp_path: Path) -> None:
    log = written(tmp_path, b"\x1b[31m\xff\0needle\n" + b"x" * 200_000 + b"needle" + b"y" * 5000 + b"\nneedle")
    hits = all_hits([log], Wanted.of(["needle"], False, 0))
    assert [hit.line for hit in hits] == [1, 2, 3]
    assert hits[0].text == "\x1b[31m\ufffd\0needle"
    assert hits[1].text == "… " + "x" * logsearch.AROUND + "needle" + "y" * (logsearch.MAX_SHOWN - 206) + " …"


def test_what_was_removed_of_a_log_is_not_looked_for(tmp_path: Path) -> None:
    log = written(tmp_path, b"needle\n", b"no\nneedle\n", numbers=(1, 7))
    assert [(hit.line, hit.offset) for hit in all_hits([log], Wanted.of(["needle"], True, 0))] == [
        (1, 0),
        (3, logs.place(7, 3)),
    ]


def test_an_answer_takes_so_much_time_and_the_next_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [written(tmp_path, b"no\n" * 1200 + b"needle\n", rank=rank) for rank in range(3)]
    monkeypatch.setattr(logsearch, "SECONDS", -1.0)
    wanted, begin, answers, lines = Wanted.of(["needle"], True, 0), None, 0, []
    while True:
        answer = search(found, wanted, 50, begin, GO)
        answers, lines = answers + 1, lines + [(hit.log.rank, hit.line) for hit in answer.hits]
        if answer.following is None:
            break
        assert answer.following != begin
        begin = answer.following
    assert (lines, answers) == ([(0, 1201), (1, 1201), (2, 1201)], 7 + 2)
    stopped = threading.Event()
    stopped.set()
    monkeypatch.setattr(logsearch, "SECONDS", 9e9)
    assert search(found, wanted, 50, None, stopped).following is not None


@pytest.mark.parametrize("text", ["a" * 200, "a" * 199 + "b"])
def test_no_word_is_dear(tmp_path: Path, text: str) -> None:
    log = written(tmp_path, (b"a" * 60_000 + b"\n") * 20)
    began = time.process_time()
    search([log], Wanted.of([text, "b" + text], False, 0), 1000, None, GO)
    assert time.process_time() - began < 2.0, "a quadratic one would take minutes"


# -- the endpoints


def kept(world: Any, job: str, name: str, text: str | bytes) -> None:
    path: Path = world.folder(job) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def test_a_search_tells_which_workers_said_it_and_reads_on_where_the_page_ended(world: Any) -> None:
    job = world.running(resources={"workers": 2})
    kept(world, job, "driver-1.log", "all is well\n")
    kept(world, job, "logs/attempt-1/rank-00000.log", "one\nNCCL WARN timeout\nthree\n")
    kept(world, job, "logs/attempt-1/rank-00001.log", "CUDA error: out of memory\nnccl says more\n")
    url = f"/v1/jobs/{job}/logs/search"
    reply = world.client.get(url, params={"text": ["nccl", "cuda error"], "context": 1, "limit": 2}).json()
    assert [(item["attempt"], item["rank"], item["line"], item["text"]) for item in reply["items"]] == [
        (1, 0, 2, "NCCL WARN timeout"),
        (1, 1, 1, "CUDA error: out of memory"),
    ]
    assert (reply["items"][0]["before"], reply["items"][0]["after"]) == (["one"], ["three"])
    following = {"text": ["nccl", "cuda error"], "cursor": reply["next_cursor"]}
    assert [item["text"] for item in world.client.get(url, params=following).json()["items"]] == ["nccl says more"]
    place = {"rank": 0, "offset": reply["items"][0]["offset"]}
    assert world.client.get(f"/v1/jobs/{job}/logs", params=place).text == "NCCL WARN timeout\nthree\n"
    assert world.client.get(url, params={"text": "nccl", "rank": 1}).json()["items"][0]["rank"] == 1
    assert world.client.get(url, params={"text": "nccl", "case": True, "rank": 0}).json() == {
        "items": [],
        "next_cursor": None,
    }
    assert world.client.get(url, params={"text": "well", "rank": "driver"}).json()["items"][0]["rank"] is None


def test_what_can_not_be_looked_for_is_refused(world: Any) -> None:
    url = f"/v1/jobs/{world.running()}/logs/search"
    for params in (
        {}, {"text": ""}, {"text": "a\nb"}, {"text": "x" * 201}, {"text": list("abcdef")}, {"text": "a", "context": 11},
        {"text": "a", "cursor": "0.0"}, {"text": "a", "cursor": "driver.-1.1"},
    ):  # fmt: skip
        assert world.client.get(url, params=params).status_code == 422, params


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_all_logs_are_had_as_one_archive_and_nothing_else_of_the_disk(world: Any, tmp_path: Path) -> None:
    job = world.running(resources={"workers": 2})
    with world.db.begin() as session:
        session.query(Job).filter(Job.id == job).one().attempt = 2
    kept(world, job, "driver-1.log", b"\xff\0 one\n")
    kept(world, job, "driver-2.log", "")
    kept(world, job, "logs/attempt-2/rank-00001.log", "begins\n")
    kept(world, job, "logs/attempt-2/rank-00001.part-00003.log", "ends\n")
    (tmp_path / "secret").write_text("secret")
    (world.folder(job) / "logs/attempt-2/rank-00000.log").symlink_to(tmp_path / "secret")
    url = f"/v1/jobs/{job}/logs/archive"
    reply = world.client.get(url)
    assert reply.headers["content-type"] == "application/x-tar"
    assert reply.headers["content-disposition"] == f'attachment; filename="{job}-logs.tar"'
    assert len(reply.content) == int(reply.headers["content-length"])
    assert unpacked(reply.content) == {
        f"{job}-logs/attempt-2/driver.log": b"",
        f"{job}-logs/attempt-2/rank-00001.log": b"begins\n" + logs.gap(1, 3).encode() + b"ends\n",
        f"{job}-logs/attempt-1/driver.log": b"\xff\0 one\n",
    }
    one = world.client.get(url, params={"attempt": 1})
    assert list(unpacked(one.content)) == [f"{job}-logs/attempt-1/driver.log"]
    assert world.client.get(url, params={"attempt": 3}).status_code == 404


def test_the_archive_of_a_search_has_its_trials_and_a_trial_has_one_of_its_own(world: Any) -> None:
    search = world.client.post("/v1/searches", json={"search": EXAMPLE}).json()["id"]
    world.round()
    trial = {"id": "t-00003", "number": 3, "values": {"optimizers.G.lr": 1e-4}}
    told = {"seq": 1, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": "trial", "data": trial}
    assert world.send(search, told).status_code == 200
    kept(world, search, "driver-1.log", "of the search\n")
    folder = trial_dir(world.folder(search), "t-00003").relative_to(world.folder(search))
    kept(world, search, f"{folder}/logs/attempt-1/rank-00000.log", "of the trial\n")
    kept(world, search, "trials/notes/logs/attempt-1/rank-00000.log", "of nobody\n")
    everything = unpacked(world.client.get(f"/v1/searches/{search}/logs/archive").content)
    assert everything == {
        f"{search}-logs/attempt-1/driver.log": b"of the search\n",
        f"{search}-logs/trials/t-00003/attempt-1/rank-00000.log": b"of the trial\n",
    }
    own = unpacked(world.client.get(f"/v1/searches/{search}/trials/t-00003/logs/archive").content)
    assert own == {f"{search}-t-00003-logs/attempt-1/rank-00000.log": b"of the trial\n"}


def test_an_archive_has_the_length_it_said_whatever_becomes_of_the_logs_meanwhile(tmp_path: Path) -> None:
    log, gone = written(tmp_path, b"one\n" * 1000, rank=0), written(tmp_path, b"two\n", rank=1)
    packed = logarchive.pack([("0.log", log), ("1.log", gone)], "logs")
    pieces = packed.pieces()
    data = next(pieces)
    log.path().write_bytes(b"short\n")
    gone.path().unlink()
    with (tmp_path / "more").open("wb") as file:
        file.write(b"no")
    data += b"".join(pieces)
    assert len(data) == packed.size
    found = unpacked(data)
    assert found["logs/0.log"].rstrip(b"\n") == b"short"
    assert found["logs/1.log"].strip() == b""
