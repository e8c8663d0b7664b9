"""Kill a training with SIGKILL, start it again, and compare the final weights with a run that was left alone.

    python -m benchmarks.resume [--quick]

Every run is a process (or two DDP workers) as a user starts it; the kills come at random times after the first
checkpoint, in the middle of whatever is going on. Digests are SHA-256 of the final `state.safetensors`: nets, optimisers,
moving average.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Report, arguments
from trainer.checkpoint import latest, read
from trainer.families.table import recipes
from trainer.spec import JobSpec, dump_spec, load_spec, with_overrides

RECIPES = ("gan-digits", "dcgan-digits", "wgan-gp-digits")
STEPS, KILLS, PATIENCE_SECONDS = 60, 2, 600


def small(recipe: str, workers: int, seed: int, steps: int) -> JobSpec:
    """The recipe for `steps` steps with a checkpoint every 10, and a short evaluation."""
    spec = recipes()[recipe]()
    return with_overrides(
        spec,
        [
            f"train.images={steps * spec.train.batch * spec.objective.d_steps}", f"train.seed={seed}",
            "checkpoint.every_steps=10", "train.log_steps=5", "evaluation.samples=64", "evaluation.metrics=[fid]",
            f"resources.workers={workers}",
        ],
    )  # fmt: skip


def start(spec_file: Path, folder: Path, cache: Path, workers: int) -> list[subprocess.Popen[bytes]]:
    """Start the training: `trainer.launch.local` for one worker, else this module's workers in one gloo group."""
    common = [str(spec_file), "--out", str(folder), "--cache-dir", str(cache)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(workers):
        place = {
            "RANK": str(rank), "WORLD_SIZE": str(workers), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(workers),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        module = ["-m", "benchmarks.resume", "--worker"] if workers > 1 else ["-m", "trainer.launch.local"]
        environment = os.environ | (place if workers > 1 else {}) | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, *module, *common]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    return processes


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for a run that is left alone."""
    codes = [process.wait(PATIENCE_SECONDS) for process in processes]
    if any(codes):
        raise RuntimeError(f"a training failed with exit codes {codes}")


def kill(processes: list[subprocess.Popen[bytes]], folder: Path, delay: float) -> int | None:
    """SIGKILL all workers `delay` seconds after a new checkpoint shows; the step it fell back to, None if it had ended."""
    before, deadline = latest(folder / "checkpoints"), time.monotonic() + PATIENCE_SECONDS
    while latest(folder / "checkpoints") == before and processes[0].poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(delay)
    ended = [process.poll() for process in processes]
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = latest(folder / "checkpoints")
    return None if found is None or ended == [0] * len(ended) else int(read(found)[1]["clock"]["step"])


def digest(folder: Path) -> str:
    """SHA-256 of the final state, in hex."""
    found = latest(folder / "checkpoints")
    if found is None:
        raise RuntimeError(f"no checkpoint in {folder}")
    return hashlib.sha256((found / "state.safetensors").read_bytes()).hexdigest()


def compare(
    recipe: str, workers: int, options: argparse.Namespace, root: Path, random_: random.Random
) -> tuple[str, str, str]:
    """Digests of the run left alone and of the one that was killed, and the steps that it went on from."""
    spec = small(recipe, workers, options.seed, 40 if options.quick else STEPS)
    folder, cache = root / f"{recipe}-{workers}", root / "cache"
    folder.mkdir()
    (folder / "job.yaml").write_text(dump_spec(spec))
    finish(start(folder / "job.yaml", folder / "alone", cache, workers))
    steps = []
    for _ in range(1 if options.quick else KILLS):
        processes = start(folder / "job.yaml", folder / "killed", cache, workers)
        steps.append(kill(processes, folder / "killed", random_.uniform(0.0, 0.3)))
    finish(start(folder / "job.yaml", folder / "killed", cache, workers))
    return digest(folder / "alone"), digest(folder / "killed"), ", ".join(map(str, steps))


def main() -> int:
    """Compare every recipe at one and two workers."""
    parser = arguments("resume", "Bit-identity of killed and restarted trainings.")
    options = parser.parse_args()
    report, random_ = Report("resume", options), random.Random(options.seed)
    report.note("`went on from`: the checkpoint's step after each SIGKILL; None: the run had ended already")
    with tempfile.TemporaryDirectory() as root:
        for recipe in RECIPES[:1] if options.quick else RECIPES:
            for workers in (1, 2):
                alone, killed, steps = compare(recipe, workers, options, Path(root), random_)
                print(f"{recipe} × {workers}: alone {alone[:16]}, killed {killed[:16]}", flush=True)
                name = f"{recipe}, {workers} worker{'s' if workers > 1 else ''}"
                report.row(
                    recipe=recipe,
                    workers=workers,
                    went_on_from=steps,
                    alone=alone[:16],
                    killed=killed[:16],
                    same=alone == killed,
                )
                report.equal(f"final state, {name}", alone, measured=killed)
    return report.finish()


def worker() -> None:
    """One DDP worker of a run: the arguments of `trainer.launch.local`, its place in the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cache-dir", type=Path)
    options = parser.parse_args()
    from trainer.engine.distributed import Distributed
    from trainer.launch.compose import train
    from trainer.wire import JobFile

    spec = load_spec(options.spec)
    options.out.mkdir(parents=True, exist_ok=True)
    job = JobFile(job_id="bench", attempt=1, spec=spec, job_dir=str(options.out), cache_dir=str(options.cache_dir))
    train(job, Distributed.create(spec, world=spec.resources.workers))


if __name__ == "__main__":
    if "--worker" in sys.argv:
        worker()
    else:
        raise SystemExit(main())
