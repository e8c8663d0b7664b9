"""The event spool: numbered without gaps, durable, one metric a step, whoever writes and however it dies."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.sinks.spool import ACKED_FILE, EVENTS_FILE, Spool, SpoolReader, read_cursor, write_cursor
from trainer.wire import EventKind, WireEvent

KINDS = st.sampled_from([EventKind.PROGRESS, EventKind.SAMPLES, EventKind.WARNING, EventKind.CHECKPOINT])


def events(folder: Path) -> list[WireEvent]:
    return SpoolReader(folder).after(0, 10_000)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


append = st.tuples(st.just("append"), KINDS, st.integers(0, 6), st.integers(0, 1))
die = st.tuples(st.just("die"), st.integers(1, 200), st.integers(0, 1), st.booleans())
roll_back = st.tuples(st.just("roll back"), st.integers(0, 6), st.integers(1, 4), st.integers(0, 1))
actions = st.lists(st.one_of(append, append, append, roll_back, die), max_size=40)


@given(actions)
@examples(150)
def test_numbers_have_no_gap_and_a_step_has_one_metric_however_often_writers_die(script: list[tuple]) -> None:
    """Two writers against a model. A death leaves its next line torn, as SIGKILL in the middle of a write does."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        writers = [Spool(folder), Spool(folder)]
        model: list[tuple[int, str, int]] = []
        line: list[tuple[str, int]] = []  # what has not been undone
        done = 0
        for action in script:
            if action[0] == "roll back":
                _, step, count, who = action
                written = writers[who].append(1, EventKind.ROLLED_BACK, step=step, data={"count": count})
                assert (written is not None) == (count > done)
                if written is not None:
                    done = count
                    line = [(kind, min(known, step)) for kind, known in line]
                    model.append((len(model) + 1, EventKind.ROLLED_BACK, step))
            elif action[0] == "append":
                _, kind, step, who = action
                known = any(k == kind and s >= step for k, s in line)
                written = writers[who].append(1, kind, step=step, data={"text": "ü" * 3})
                if known and kind is not EventKind.WARNING:
                    assert written is None
                else:
                    model.append((len(model) + 1, kind, step))
                    line.append((kind, step))
                    assert written is not None
                    assert written.seq == len(model)
            else:
                _, length, who, rubbish = action
                whole = WireEvent.model_validate(
                    {"seq": len(model) + 1, "attempt": 1, "time": 0, "kind": "warning", "data": {"text": "x" * 300}}
                ).model_dump_json()
                torn = b"\0" * length + b"\n" if rubbish else whole.encode()[:length]
                writers[who].close()
                with (folder / EVENTS_FILE).open("ab") as file:
                    file.write(torn)
                writers[who] = Spool(folder)
        assert [(e.seq, e.kind, e.step) for e in events(folder)] == model
        for writer in writers:
            writer.close()


@given(
    count=st.integers(0, 30),
    acks=st.lists(st.integers(0, 30), max_size=8),
    limit=st.integers(1, 7),
)
@examples(60)
def test_a_reader_gives_exactly_the_events_after_any_number(count: int, acks: list[int], limit: int) -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        spool, reader = Spool(folder), SpoolReader(folder)
        for i in range(count):
            spool.append(1, EventKind.WARNING, step=i)
        for ack in acks:
            assert [e.seq for e in reader.after(ack, limit)] == list(range(ack + 1, count + 1))[:limit]
        spool.close()


def test_a_line_that_is_still_being_written_is_not_read(folder: Path) -> None:
    spool = Spool(folder)
    spool.append(1, EventKind.WARNING)
    with (folder / EVENTS_FILE).open("ab") as file:
        file.write(b'{"seq": 2, "attempt": 1')
    assert [e.seq for e in events(folder)] == [1]
    assert spool.append(1, EventKind.WARNING) is not None
    assert [e.seq for e in events(folder)] == [1, 2]
    spool.close()


def test_numbers_go_on_over_attempts_and_steps_that_were_logged_stay_logged_once(folder: Path) -> None:
    first = Spool(folder)
    for step in (20, 40, 60):
        first.append(1, EventKind.PROGRESS, step=step)
    first.close()
    second = Spool(folder)
    given_again = [second.append(2, EventKind.PROGRESS, step=step) for step in (40, 60, 80)]
    assert [e and (e.seq, e.step, e.attempt) for e in given_again] == [None, None, (4, 80, 2)]
    second.close()


def test_a_number_the_control_plane_has_is_never_used_again(folder: Path) -> None:
    """After a power loss the cursor may know more than the log."""
    write_cursor(folder / ACKED_FILE, 7)
    spool = Spool(folder)
    event = spool.append(1, EventKind.WARNING)
    assert event is not None
    assert event.seq == 8
    spool.close()


@pytest.mark.parametrize("text", ["", "x", "-4", "\0\0"])
def test_a_damaged_cursor_means_start_over(folder: Path, text: str) -> None:
    (folder / ACKED_FILE).write_text(text)
    assert read_cursor(folder / ACKED_FILE) == 0


def test_a_full_disk_leaves_whole_lines_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(folder)
    spool.append(1, EventKind.WARNING)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
    with pytest.raises(OSError, match="No space left") as caught:
        spool.append(1, EventKind.WARNING)
    assert caught.value.errno == 28
    monkeypatch.undo()
    event = spool.append(1, EventKind.WARNING)
    assert event is not None
    assert [e.seq for e in events(folder)] == [1, 2]
    spool.close()


WRITER = """
import sys
from pathlib import Path
from trainer.sinks.spool import Spool
from trainer.wire import EventKind
spool = Spool(Path(sys.argv[1]))
print("ready", flush=True)
for i in range(int(sys.argv[2])):
    spool.append(1, EventKind.WARNING, step=i, data={"who": sys.argv[3], "i": i})
"""


def writer(folder: Path, count: int, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(count), name], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_write_at_once_and_no_number_is_given_twice(folder: Path) -> None:
    processes = [writer(folder, 400, name) for name in "ab"]
    assert [p.wait(60) for p in processes] == [0, 0]
    found = events(folder)
    assert [e.seq for e in found] == list(range(1, 801))
    for name in "ab":
        assert [e.data["i"] for e in found if e.data["who"] == name] == list(range(400))


def test_what_was_appended_survives_sigkill_and_the_next_process_goes_on(folder: Path) -> None:
    process = writer(folder, 10**6, "a")
    assert process.stdout is not None
    process.stdout.readline()
    while len(events(folder)) < 50:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    spool = Spool(folder)
    spool.append(1, EventKind.WARNING)
    found = events(folder)
    assert [e.seq for e in found] == list(range(1, len(found) + 1))
    assert len(found) > 50
    for line in (folder / EVENTS_FILE).read_bytes().splitlines():
        json.loads(line)
    spool.close()


def test_a_roll_back_takes_the_writer_that_does_not_train_back_with_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(1, EventKind.PROGRESS, step=30, images=300)
    spool.append(1, EventKind.ROLLED_BACK, step=10, images=100, data={"count": 1})
    told = spool.append(1, EventKind.WARNING)
    assert told is not None
    assert (told.step, told.images) == (10, 100)
    assert spool.append(1, EventKind.PROGRESS, step=10) is None
    assert spool.append(1, EventKind.PROGRESS, step=20) is not None
    assert Spool(tmp_path).append(1, EventKind.ROLLED_BACK, step=10, data={"count": 1}) is None  # told once
    spool.close()
