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
from trainer.errors import CheckpointError
from trainer.launch import local_fork as forks
from trainer.spec import JobSpec, SpecError, dump_spec
from trainer.wire import JOB_FILE, FailureKind, Fork, JobFile

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
FOLDERS = ("checkpoints", "origin", "samples", "model")
FILES = ("*.json", "*.jsonl", "events.acked", "spec.yaml")
"""What runs leave in their folder; `--fresh` removes these and nothing else."""

HELP = """Train FILE (a spec in YAML or JSON) or a RECIPE in this process, without any service.

The run lives in its folder (--out): checkpoints/, samples/, events.jsonl, spec.yaml. Start the same command again and it
goes on from the newest checkpoint; a longer train.images, other cadences or another micro-batch may be given then.
Ctrl-C writes a checkpoint and stops; a second Ctrl-C stops at once.

With --from a run begins with a checkpoint of another one, which it has from then on: it goes on exactly or, with --weights,
takes the nets alone. Without FILE|RECIPE it has that one's spec.

- `agon train gan-digits`
- `agon train job.yaml --set train.images=200000 --set optimizers.G.lr=1e-4 --out runs/second`
- `agon train --from runs/gan-digits --at best --weights --set data.url=photos --out runs/tuned`

Exit codes: 0 trained or stopped · 2 bad spec · 3 bad data · 4 out of memory · 5 NaN or infinity · 6 disk full · 7 collapsed
· 8 the data's server is away · 9 bad checkpoint · 130 interrupted · 1 anything else."""

app = commandline.program()


@app.command(help=HELP, context_settings=commandline.CONTEXT)
def main(
    source: Annotated[
        str | None, typer.Argument(metavar="FILE|RECIPE", help="A spec file, or a recipe's name.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field of the spec; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/ and the spec's name")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="Begin with a checkpoint of the run in this folder, or with this one."
        ),
    ] = None,
    at: Annotated[str, typer.Option("--at", metavar="latest|best|STEP", help="With --from: which one.")] = "latest",
    weights: Annotated[
        bool, typer.Option("--weights", help="With --from: the nets and their averages alone; all else is new.")
    ] = False,
    restart: Annotated[
        list[str] | None,
        typer.Option(
            "--restart",
            metavar="changed|PLAYER|PLAYER/NAME",
            help="With --weights: what starts anew. changed: all that doesn't fit the new nets. Repeatable.",
        ),
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
    changes = assignments or []
    with _told():
        wanted = forks.asked(from_, at, weights, restart or (), out)
        known = forks.before(out) if out is not None and not fresh else None
        spec = alone(forks.spec_of(source, changes, wanted, known))
    folder = out or Path("runs") / spec.name
    try:
        with locked(folder):
            if fresh:
                clear(folder)
            with _told():
                fork = forks.begun(spec, changes, wanted, folder) if wanted is not None else None
            run(job_file(spec, folder, cache_dir or default_cache(), data_root or [], fork))
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """End with a message and its kind's code if the arguments are wrong, or the checkpoint to begin with can't be used."""
    try:
        yield
    except CheckpointError as error:
        fail(f"{error.kind}: {error}", EXIT_CODES[error.kind])
    except (SpecError, OSError) as error:
        fail(str(error), EXIT_CODES[FailureKind.BAD_SPEC])


def alone(spec: JobSpec) -> JobSpec:
    """The spec for this one process: the lanes give one worker the same global batches as any other number."""
    resources = spec.resources.model_copy(update={"workers": 1, "min_workers": None})
    return spec.model_copy(update={"resources": resources})


def default_cache() -> Path:
    """`$AGON_HOME/cache`: shared with the embedded stack, so that an extractor is trained once."""
    return Path(os.environ.get("AGON_HOME", "~/.agon")).expanduser() / "cache"


def job_file(spec: JobSpec, folder: Path, cache_dir: Path, roots: list[Path], fork: Fork | None = None) -> JobFile:
    """Write `job.json` and `spec.yaml` into the folder; a folder that has one already gets its next attempt."""
    path, known = folder / JOB_FILE, forks.before(folder)
    job = JobFile(
        job_id=f"local-{spec.name}",
        attempt=known.attempt + 1 if known is not None else 1,
        spec=spec,
        fork=fork or (known.fork if known is not None else None),
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
