"""The driver knows from the job's own log whether workers train, also after Ray Train restarted them, and always ends."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.families.table import recipes
from trainer.launch.driver import Launch
from trainer.sinks.report import Reporter
from trainer.sinks.spool import Spool
from trainer.spec import Resources
from trainer.wire import EventKind, FailureKind, JobFile


@pytest.fixture
def job(tmp_path: Path) -> JobFile:
    spec = recipes()["gan-digits"]()
    return JobFile(job_id="j", attempt=1, spec=spec, job_dir=str(tmp_path), cache_dir=str(tmp_path))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    found = Spool(tmp_path)
    yield found
    found.close()


def test_a_restarted_group_has_to_start_again(job: JobFile, spool: Spool) -> None:
    launch = Launch(job, Reporter(job))
    assert not launch._has_started(False)
    spool.append(1, EventKind.STARTED)
    assert launch._has_started(False)
    assert launch._has_started(True)
    spool.append(1, EventKind.RESTARTED, data={"reason": "a node was lost"})
    assert not launch._has_started(True)
    spool.append(1, EventKind.RESTARTED, data={"reason": "again"})
    spool.append(1, EventKind.STARTED)
    assert launch._has_started(False)


def test_a_failure_that_cannot_be_written_down_still_ends_with_its_exit_code(
    job: JobFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter(job)
    launch = Launch(job, reporter)

    def fail() -> None:
        launch._failure = (FailureKind.DISK_FULL, "no space left on the device")
        launch._done.set()

    def full(kind: FailureKind, reason: str, rank: int | None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(launch, "_train", fail)
    monkeypatch.setattr(reporter, "failed", full)
    monkeypatch.setattr("trainer.launch.driver.signal.signal", lambda number, handler: None)
    assert launch.run() == 1
    assert "failed (disk-full): no space left on the device" in capsys.readouterr().err


def test_a_cluster_that_cannot_say_what_a_job_waits_for_does_not_end_it(
    job: JobFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def late(resources: Resources, *_: object) -> str:
        raise TimeoutError("the head did not answer")

    monkeypatch.setattr("trainer.launch.capacity.shortage", late)
    Launch(job, Reporter(job))._say_waiting(3.0)
    assert "can't say what the job waits for: TimeoutError: the head did not answer" in capsys.readouterr().out
