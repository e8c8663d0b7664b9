"""What a process prints lies in the run's folder: to the last byte, of bounded size, by attempt and rank."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.launch import log, output
from trainer.launch.output import Output, Patient
from trainer.wire import log_file, log_part

RANK = partial(log_file, 2, 3)
FIRST = "logs/attempt-2/rank-00003.log"


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[int]:
    """A descriptor that stands for standard output, and went to a file `before`."""
    file = os.open(tmp_path / "before", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield file
    os.close(file)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 100 bytes, 400 in all; nobody looks but the test."""
    for name, value in {
        "PART_BYTES": 100,
        "LOG_BYTES": 400,
        "TAIL_BYTES": 30,
        "ECHO_BYTES": 50,
        "LOOK_SECONDS": 9e6,
    }.items():
        monkeypatch.setattr(output, name, value)


def begun(folder: Path, stream: int, *, echo: bool = False) -> Output:
    found = Output(folder, RANK, streams=(stream,), echo=echo)
    found.begin("h")
    return found


def parts(folder: Path) -> dict[int, str]:
    found = {path.name: path.read_text() for path in (folder / "logs/attempt-2").iterdir()}
    return {(log_part(name) or ("", 0))[1]: text for name, text in sorted(found.items())}


@given(st.integers(1, 10**9), st.none() | st.integers(0, 99_999), st.integers(1, 99_999))
def test_a_logs_name_says_which_part_of_which_log_it_is(attempt: int, rank: int | None, part: int) -> None:
    path = Path(log_file(attempt, rank, part))
    log = f"driver-{attempt}" if rank is None else f"rank-{rank:05d}"
    assert log_part(path.name) == (log, part)
    assert (path.parent == Path(f"logs/attempt-{attempt}")) == (rank is not None)


@pytest.mark.parametrize(
    "name", ["driver-0.log", "driver-1.log~", "driver-1.part-2.log", ".driver-1.log.ab", "rank-3.log", "x"]
)
def test_what_has_another_name_is_no_log(name: str) -> None:
    assert log_part(name) is None


def test_what_was_printed_before_a_kill_is_in_the_file(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:  # no thread of it has looked: the kernel wrote it
        try:
            Output(tmp_path, RANK, echo=True).begin("rank 3")
            os.write(1, b"to standard output\n")
            os.write(2, b"last words\n")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / FIRST).read_text() == "--- rank 3 ---\nto standard output\nlast words\n"


def test_a_worker_that_begins_again_goes_on_in_its_log(tmp_path: Path, stream: int) -> None:
    for word in (b"one\n", b"two\n"):
        kept = begun(tmp_path, stream)
        os.write(stream, word)
        kept.end()
    os.write(stream, b"elsewhere\n")
    assert parts(tmp_path) == {1: "--- h ---\none\n--- h ---\ntwo\n"}
    assert (tmp_path / "before").read_text() == "elsewhere\n"


@pytest.mark.usefixtures("small")
def test_a_long_log_keeps_its_beginning_and_its_end_and_no_more(tmp_path: Path, stream: int) -> None:
    kept = begun(tmp_path, stream)
    for number in range(100):
        os.write(stream, b"line %4d, of 20 bytes\n" % number)
        kept.look()
    kept.end()
    found = parts(tmp_path)
    assert sum(map(len, found.values())) <= 400 + 22
    assert min(found) == 1
    assert list(found)[1:] == list(range(max(found) - len(found) + 2, max(found) + 1)), "the newest, without a gap"
    assert found[1].startswith("--- h ---\nline    0")
    assert "".join(found.values()).endswith("line   98, of 20 bytes\nline   99, of 20 bytes\n")
    again = begun(tmp_path, stream)
    assert max(parts(tmp_path)) in (max(found), max(found) + 1)
    again.end()


@examples(30)
@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=30))
@pytest.mark.usefixtures("small")
def test_whatever_is_printed_the_last_of_it_is_kept_and_the_size_is_bounded(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    stream = os.open(folder / "before", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    kept = begun(folder, stream)
    for number, size in enumerate(sizes):
        os.write(stream, bytes([97 + number % 26]) * size)
        kept.look()
    kept.end()
    os.close(stream)
    text = "".join(parts(folder).values())
    last = chr(97 + (len(sizes) - 1) % 26) * min(sizes[-1], 30)
    assert text.endswith(last)
    assert len(text) <= 400 + 400 + 120, "one look's worth may come on top, and a note"


@pytest.mark.usefixtures("small")
def test_a_log_that_grows_by_more_than_it_keeps_says_what_it_leaves_out(tmp_path: Path, stream: int) -> None:
    kept = begun(tmp_path, stream)
    os.write(stream, b"x" * 990 + b"the end")
    kept.look()
    kept.end()
    found = parts(tmp_path)
    assert found[1] == "--- h ---\n" + "x" * 90
    note = "\n--- 877 bytes are left out here: more came at once than a log keeps ---\n"
    assert found[2] == note + "x" * 23 + "the end"
    assert 1007 - 100 - 30 == 877


@pytest.mark.usefixtures("small")
def test_what_is_kept_is_shown_where_it_went_before_as_far_as_it_is_not_too_much(tmp_path: Path, stream: int) -> None:
    kept = begun(tmp_path, stream, echo=True)
    os.write(stream, b"short\n")
    kept.look()
    os.write(stream, b"y" * 60)
    kept.end()
    note = "\n--- 10 bytes are left out here: more came at once than a log keeps ---\n"
    assert (tmp_path / "before").read_text() == "--- h ---\nshort\n" + note + "y" * 50


def test_a_log_that_can_not_be_opened_leaves_the_output_where_it_was(tmp_path: Path, stream: int) -> None:
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(OSError, match="logs"):
        begun(tmp_path, stream)
    os.write(stream, b"still here\n")
    assert (tmp_path / "before").read_text() == "still here\n"


def test_a_log_never_goes_where_a_link_leads(tmp_path: Path, stream: int) -> None:
    (tmp_path / "logs/attempt-2").mkdir(parents=True)
    (tmp_path / FIRST).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="rank-00003"):
        begun(tmp_path, stream)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("small")
def test_while_no_further_part_can_be_made_the_log_goes_on_in_the_old_one(
    tmp_path: Path, stream: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = begun(tmp_path, stream)
    os.write(stream, b"z" * 150)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Output, "_new", full)
        kept.look()
    os.write(stream, b"and on\n")
    kept.look()
    os.write(stream, b"in the next\n")
    kept.end()
    assert parts(tmp_path) == {1: "--- h ---\n" + "z" * 150 + "and on\n", 2: "in the next\n"}


class Full(io.StringIO):
    """Where nothing more can be written."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_what_can_not_be_printed_ends_nothing() -> None:
    print("lost", file=Patient(Full()), flush=True)  # type: ignore[call-overload]


def test_a_process_that_becomes_another_worker_keeps_that_ones_log_from_then_on(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            for trial in ("t-00001", "t-00002", "t-00002"):
                log.keep_rank(str(tmp_path / trial), 2, 0, 1)
                os.write(1, f"of {trial}\n".encode())
            os.system("echo from a child")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    first, second = ((tmp_path / trial / log_file(2, 0)).read_text() for trial in ("t-00001", "t-00002"))
    assert first.splitlines()[1:] == ["of t-00001"]
    assert second.splitlines()[1:] == ["of t-00002", "of t-00002", "from a child"]
    assert first.startswith(f"--- rank 0 of 1, attempt 2: process {child} on ")
