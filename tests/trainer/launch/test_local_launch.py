"""`python -m trainer.launch.local` as a person uses it: real processes, real signals, real exit codes.

The first run is started as a person does; the others are forked, which spares each the imports.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import Command, Done

from trainer.checkpoint import latest, read, step_path
from trainer.launch.local import alone, clear
from trainer.source import find_spec
from trainer.spec import load_spec

SMALL = [
    "arch.resolution=8", "arch.g_hidden=8", "arch.d_hidden=8", "data.lanes=4", "train.batch=16", "train.log_steps=5",
    "checkpoint.every_steps=10", "evaluation.samples=32", "evaluation.metrics=[fid]", "samples.count=4",
]  # fmt: skip


def command(home: Path, *more: str, steps: int = 20) -> list[str]:
    settings = [part for change in [*SMALL, f"train.images={16 * steps}"] for part in ("--set", change)]
    folder = ["--out", str(home / "run"), "--cache-dir", str(home / "cache")]
    return ["trainer.launch.local", "gan-digits", *settings, *folder, *more]


def train(home: Path, *more: str, steps: int = 20) -> Done:
    return Command(home / "said", *command(home, *more, steps=steps)).wait()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A run of 20 steps."""
    home = tmp_path_factory.mktemp("local")
    done = subprocess.run(
        [sys.executable, "-m", *command(home)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "completed after 20 steps" in done.stdout
    return home


def digest(path: Path) -> str:
    return hashlib.sha256((path / "state.safetensors").read_bytes()).hexdigest()


def test_a_run_leaves_what_the_interfaces_say(home):
    run = home / "run"
    assert {"job.json", "spec.yaml", "events.jsonl", "checkpoints", "samples", "model"} <= {
        entry.name for entry in run.iterdir()
    }
    assert latest(run / "checkpoints") == step_path(run / "checkpoints", 20)
    assert (run / "samples" / "step-000000020.png").exists()
    assert load_spec(run / "spec.yaml").train.images == 320


@pytest.mark.long
def test_a_longer_training_goes_on_from_the_last_checkpoint(home, tmp_path):
    more = train(home, steps=30)
    assert more.returncode == 0, more.stderr
    assert "step 20" in more.stdout.splitlines()[0], more.stdout
    straight = train(tmp_path, "--cache-dir", str(home / "cache"), steps=30)
    assert straight.returncode == 0, straight.stderr
    ours, theirs = (latest(base / "run" / "checkpoints") for base in (home, tmp_path))
    assert ours.name == theirs.name == "step-000000030"
    assert digest(ours) == digest(theirs)
    assert json.loads((home / "run" / "job.json").read_text())["attempt"] == 2


def test_another_training_in_the_same_folder_is_refused_with_the_field(home):
    found = train(home, "--set", "optimizers.G.lr=0.5")
    assert found.returncode == 2
    assert found.stderr.startswith("error: bad-spec: ")
    assert "optimizers.G.lr is 0.0005 in the checkpoint and 0.5 now" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_makes_a_checkpoint_and_stops(home, tmp_path, number):
    process = Command(tmp_path / "said", *command(tmp_path, "--cache-dir", str(home / "cache"), steps=10**6))
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 100
    while latest(checkpoints) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    done = process.wait(60)
    assert done.returncode == 0, done.stderr
    assert "stopped after" in done.stdout
    step = read(latest(checkpoints))[1]["clock"]["step"]
    assert f"stopped after {step:,} steps" in done.stdout  # the last step's state was saved, not the last cadence's


def test_two_runs_do_not_share_a_folder(home, tmp_path):
    import fcntl

    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = train(tmp_path)
    assert found.returncode == 1
    assert "another process is training" in found.stderr


def test_mistakes_are_told_in_a_sentence_with_an_exit_code(tmp_path):
    cases = {
        ("--set", "train.batch=15"): "train.batch",
        ("--set", "train.bach=15"): "train.bach",
        ("--set", "data.url=/nowhere/at/all"): "/nowhere/at/all",
    }
    codes = []
    for arguments, message in cases.items():
        found = train(tmp_path, *arguments)
        assert message in found.stderr
        assert "Traceback" not in found.stderr
        codes.append(found.returncode)
    assert codes == [2, 2, 3]


def test_a_diverging_training_ends_with_its_own_exit_code_and_saves_no_nan(home, tmp_path):
    sgd = "optimizers.D={kind: sgd, lr: 10.0, momentum: 0.9, weight_decay: 10.0}"
    found = train(tmp_path, "--set", sgd, "--cache-dir", str(home / "cache"), steps=200)
    assert found.returncode == 5, found.stdout + found.stderr
    assert "non-finite" in found.stderr
    kept = latest(tmp_path / "run" / "checkpoints")
    assert kept is None or all(bool(t.isfinite().all()) for t in read(kept)[0].values())


def test_a_name_that_is_neither_file_nor_recipe_lists_the_recipes():
    with pytest.raises(FileNotFoundError, match="dcgan-digits"):
        find_spec("nothing")


def test_a_spec_for_many_workers_trains_alone_on_the_same_batches():
    spec = find_spec("dcgan-digits")
    assert alone(spec).resources.workers == 1
    assert alone(spec).train == spec.train
    assert alone(spec).data == spec.data


def test_fresh_removes_what_runs_leave_and_nothing_else(tmp_path):
    for name in (
        "checkpoints/step-000000001/meta.json",
        "samples/a.png",
        "events.jsonl",
        "job.json",
        "notes.md",
        "mine/x",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    clear(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["mine", "mine/x", "notes.md"]


def test_help_teaches():
    found = subprocess.run(
        [sys.executable, "-m", "trainer.launch.local", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0
    for word in ("--set", "--out", "--fresh", "Ctrl-C", "Exit codes"):
        assert word in found.stdout
