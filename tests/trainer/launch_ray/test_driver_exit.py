"""The driver's exit code tells how the job ended, whatever Ray does at the interpreter's end."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.families.table import recipes
from trainer.wire import JobFile

# Ray's shutdown runs at exit, and the next call of a thread that is still inside Ray ends the process with code 1
STOPPED_BEFORE_THE_START = """
import atexit, os, signal, sys, threading, time
from trainer.launch import driver
atexit.register(os._exit, 1)
driver._connect = lambda: None
driver.Launch._say_waiting = lambda self: None
driver.Launch._train = lambda self: {training}
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
print("log", end="")
code = driver.main(sys.argv[1:])
atexit.unregister(os._exit)
sys.exit(code + 10)
"""


def exit_code(tmp_path: Path, training: str) -> int:
    spec = recipes()["gan-digits"]()
    job = JobFile(job_id="j", attempt=1, spec=spec, job_dir=str(tmp_path), cache_dir=str(tmp_path))
    (tmp_path / "job.json").write_text(job.model_dump_json())
    script = STOPPED_BEFORE_THE_START.format(training=training)
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "job.json")], capture_output=True, text=True, timeout=60
    )
    assert run.stdout.startswith("log"), run.stderr
    return run.returncode


def test_a_job_stopped_while_its_thread_waits_inside_ray_ends_with_the_code_of_a_stop(tmp_path: Path) -> None:
    assert exit_code(tmp_path, "time.sleep(600)") == 0


def test_a_job_whose_thread_is_done_leaves_by_the_ordinary_way(tmp_path: Path) -> None:
    assert exit_code(tmp_path, "None") == 10


def test_what_a_driver_prints_lies_in_the_jobs_folder_and_outlives_ray(tmp_path: Path) -> None:
    exit_code(tmp_path, "print('from a thread', flush=True) or os.system('echo from a child')")
    log = (tmp_path / "driver-1.log").read_text()
    head, *printed = log.split("\n")
    assert head.startswith("--- driver of attempt 1: process ")
    assert printed[:2] == ["from a thread", "from a child"]
    exit_code(tmp_path, "print('again', flush=True)")
    assert (tmp_path / "driver-1.log").read_text().startswith(log), "a driver that is started twice loses nothing"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_that_can_not_be_written_takes_no_other_word_with_it(tmp_path: Path) -> None:
    (tmp_path / "driver-1.log").symlink_to("/dev/full")
    failing = "setattr(self, '_failure', ('bad-data', 'shard 3 was altered')) or self._done.set()"
    assert exit_code(tmp_path, failing) == 11
    assert "shard 3 was altered" in (tmp_path / "events.jsonl").read_text()
