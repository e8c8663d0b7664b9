"""The demo, to its end and stopped where it hurts: whatever it has started is gone afterwards."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from trainer.families.table import recipes

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(400)]
MARK = "AGON_TEST_MARK"


def _marked(mark: str) -> list[psutil.Process]:
    """Every process that descends from the demo, also if its parents are gone."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture
def mark() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    for process in _marked(name):
        process.kill()


def _start(mark: str, folder: Path, log: Path, images: int = 1_000_000) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "service.demo", "--out", str(folder), "--images", str(images)]
    return subprocess.Popen(
        command, env=os.environ | {MARK: mark}, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True
    )


def _ended_cleanly(child: subprocess.Popen[bytes], mark: str, log: Path) -> None:
    status, text = child.wait(120), log.read_text()
    assert status == 130, text
    assert "nothing is left running" in text
    assert "Traceback" not in text
    assert _marked(mark) == []


def test_the_demo_ends_with_a_champion_and_its_picture_and_leaves_nothing(mark: str, tmp_path: Path) -> None:
    log, picture = tmp_path / "log", tmp_path / "demo" / "samples.png"
    child = _start(mark, tmp_path / "demo", log, images=1280)
    status, text = child.wait(360), log.read_text()
    assert status == 0, text
    assert "models:/demo@champion" in text
    assert str(picture) in text
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])  # IHDR
    side = recipes()["dcgan-digits"]().arch.resolution
    assert width >= 8 * side
    assert height / width == pytest.approx(10 / 8, abs=0.1), "a row of 8 for each of 10 classes"
    assert len(content) > 2000, "80 pictures, not 80 times nothing"
    assert _marked(mark) == []


def test_ctrl_c_while_the_stack_starts_leaves_nothing(mark: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = _start(mark, tmp_path / "demo", log)
    while "starting" not in log.read_text():
        assert child.poll() is None, log.read_text()
        time.sleep(0.05)
    pause = random.uniform(0.0, 12.0)
    print(f"interrupted {pause:.2f} s after the first part started")  # noqa: T201 — to repeat a failure
    time.sleep(pause)
    os.killpg(child.pid, signal.SIGINT)  # a terminal signals the whole foreground group
    _ended_cleanly(child, mark, log)


def test_sigterm_during_the_job_leaves_nothing(mark: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = _start(mark, tmp_path / "demo", log)
    while "POST http" not in log.read_text():
        assert child.poll() is None, log.read_text()
        time.sleep(0.1)
    pause = random.uniform(0.0, 25.0)
    print(f"interrupted {pause:.2f} s after the job was submitted")  # noqa: T201 — to repeat a failure
    time.sleep(pause)
    assert len(_marked(mark)) > 10
    child.send_signal(signal.SIGTERM)
    _ended_cleanly(child, mark, log)
