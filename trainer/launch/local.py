"""`python -m trainer.launch.local FILE|RECIPE`: train in this process, without any service.

Imports torch only once the arguments are known to be good.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from trainer import commandline
from trainer.source import find_spec
from trainer.spec import JobSpec, SpecError, dump_spec, with_overrides
from trainer.wire import JOB_FILE, FailureKind, JobFile

EXIT_CODES = {
    FailureKind.BAD_SPEC: 2,
    FailureKind.BAD_DATA: 3,
    FailureKind.OUT_OF_MEMORY: 4,
    FailureKind.NON_FINITE: 5,
    FailureKind.DISK_FULL: 6,
    FailureKind.COLLAPSED: 7,
    FailureKind.DATA_AWAY: 8,
    FailureKind.BAD_CHECKPOINT: 9,
}
INTERNAL_ERROR, INTERRUPTED = 1, 130
FOLDERS = ("checkpoints", "samples", "model")
FILES = ("*.json", "*.jsonl", "events.acked", "spec.yaml")
"""What runs leave in their folder; `--fresh` removes these and nothing else."""

HELP = """Train FILE (a spec in YAML or JSON) or a RECIPE in this process, without any service.

The run lives in its folder (--out): checkpoints/, samples/, events.jsonl, spec.yaml. Start the same command again and it
goes on from the newest checkpoint; a longer train.images, other cadences or another micro-batch may be given then.
Ctrl-C writes a checkpoint and stops; a second Ctrl-C stops at once.

- `agon train gan-digits`
- `agon train job.yaml --set train.images=200000 --set optimizers.G.lr=1e-4 --out runs/second`

Exit codes: 0 trained or stopped · 2 bad spec · 3 bad data · 4 out of memory · 5 NaN or infinity · 6 disk full · 7 collapsed
· 8 the data's server is away · 9 bad checkpoint · 130 interrupted · 1 anything else."""

app = commandline.program()


@app.command(help=HELP, context_settings=commandline.CONTEXT)
def main(
    source: Annotated[str, typer.Argument(metavar="FILE|RECIPE", help="A spec file, or a recipe's name.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field of the spec; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/ and the spec's name")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete what an earlier run left in the folder first.")
    ] = False,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(help="Local folders that data may be read from; repeatable.", show_default="any"),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Packed builtin data and feature extractors.", show_default="$AGON_HOME/cache"),
    ] = None,
) -> None:
    try:
        spec = alone(with_overrides(find_spec(source), assignments or []))
    except (SpecError, OSError) as error:
        fail(str(error), EXIT_CODES[FailureKind.BAD_SPEC])
    folder = out or Path("runs") / spec.name
    try:
        with locked(folder):
            if fresh:
                clear(folder)
            run(job_file(spec, folder, cache_dir or default_cache(), data_root or []))
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)


def alone(spec: JobSpec) -> JobSpec:
    """The spec for this one process: the lanes give one worker the same global batches as any other number."""
    resources = spec.resources.model_copy(update={"workers": 1, "min_workers": None})
    return spec.model_copy(update={"resources": resources})


def default_cache() -> Path:
    """`$AGON_HOME/cache`: shared with the embedded stack, so that an extractor is trained once."""
    return Path(os.environ.get("AGON_HOME", "~/.agon")).expanduser() / "cache"


def job_file(spec: JobSpec, folder: Path, cache_dir: Path, roots: list[Path]) -> JobFile:
    """Write `job.json` and `spec.yaml` into the folder; a folder that has one already gets its next attempt."""
    path, attempt = folder / JOB_FILE, 1
    if path.exists():
        with contextlib.suppress(ValueError):
            attempt = JobFile.model_validate_json(path.read_bytes()).attempt + 1
    job = JobFile(
        job_id=f"local-{spec.name}",
        attempt=attempt,
        spec=spec,
        job_dir=str(folder.absolute()),
        cache_dir=str(cache_dir.absolute()),
        data_roots=tuple(str(root.absolute()) for root in roots),
    )
    path.write_text(job.model_dump_json(indent=1))
    (folder / "spec.yaml").write_text(dump_spec(spec))
    return job


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and hold it, so that two runs don't write into one. Exits with a message if another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"another process is training in {folder}; wait for it, or give --out another folder", INTERNAL_ERROR)
        yield


def clear(folder: Path) -> None:
    """Remove what runs leave in their folder."""
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in FILES:
        for path in folder.glob(pattern):
            path.unlink()


def run(job: JobFile) -> None:
    """Train; a failure ends the process with a message for a person and the exit code of its kind."""
    from trainer.engine.distributed import Distributed
    from trainer.errors import TrainingError, classify
    from trainer.launch.compose import train
    from trainer.launch.signals import StopOnSignal
    from trainer.sinks.report import Reporter

    try:
        with Reporter(job) as reporter, reporter.told_of_failure(classify):
            reporter.finished(train(job, Distributed.create(job.spec, world=1), [StopOnSignal()]))
    except Exception as error:
        kind, reason = classify(error)
        if kind is FailureKind.INTERNAL and not isinstance(error, TrainingError):
            raise  # a bug: its traceback is worth more than a sentence
        fail(f"{kind}: {reason}", EXIT_CODES.get(kind, INTERNAL_ERROR))


def fail(message: str, code: int) -> NoReturn:
    """Say why on stderr and exit."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 — a command's way to speak
    raise SystemExit(code)


if __name__ == "__main__":
    commandline.run(app, "trainer.launch.local")
