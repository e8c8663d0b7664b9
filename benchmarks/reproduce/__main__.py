"""`python -m benchmarks.reproduce RECIPE|all`: train through the platform, measure by the paper's protocol, write it down."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from benchmarks import tables
from benchmarks.reproduce import curves, pictures, results
from benchmarks.reproduce.case import QUICK, Case, Scale
from benchmarks.reproduce.figures import shown
from benchmarks.reproduce.images import SETS, NoImages, Splits
from benchmarks.reproduce.platform import JobEnded, Platform
from benchmarks.reproduce.protocols.table import PROTOCOLS, Protocol
from benchmarks.reproduce.specs import spec_of
from benchmarks.reproduce.trained import Trained, Unfinished
from service.client import ClientError
from service.stack.errors import StackError
from service.stack.processes import interrupts_raised
from trainer.errors import TrainingError
from trainer.families.table import recipes
from trainer.spec import JobSpec, SpecError

OUT = Console(highlight=False)
ERR = Console(stderr=True, highlight=False)
HELP = """Trains each RECIPE through the platform as a job on MNIST or CIFAR-10 and measures it by its paper's protocol.

Run it again and it goes on: with the job that runs, or with the finished one. Ctrl-C leaves the job running."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("recipes", nargs="+", metavar="RECIPE", help=f"all, or of: {', '.join(PROTOCOLS)}")
    for images in SETS:
        shape = "zip or folder with train/<class>/<number>.png (or .jpg) and test/…"
        found.add_argument(f"--{images.name}", help=f"{shape} (${images.name.upper()}, {images.default})")
    found.add_argument("--images", type=int, help="train on so many images instead of the recipe's number")
    found.add_argument("--seeds", type=int, nargs="+", default=[0], help="a training for each (0)")
    found.add_argument("--home", type=Path, default=Path("runs/reproduce"), help="the stack's folder (runs/reproduce)")
    found.add_argument("--job", help="measure this finished job (id, or its folder) instead of training")
    found.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="change a field of the spec; repeatable"
    )
    found.add_argument("--reason", help="why a figure falls short; stays in the table until another is given")
    found.add_argument(
        "--submit-only", action="store_true", help="start the training and leave; the same command without it goes on"
    )
    found.add_argument("--quick", action="store_true", help="few samples: checks that it runs; never quoted")
    found.add_argument("--out", type=Path, default=results.FOLDER, help="folder of the results")
    found.add_argument("--images-out", type=Path, default=pictures.FOLDER, help="folder of the pictures")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduce what was asked for; exit status 0 unless something could not be done (a figure that falls short is no error)."""
    options = parser().parse_args(arguments)
    platform = Platform(options.home)
    try:
        names, sets = with_images(chosen(options.recipes), options, platform.data)
        if options.job and len(names) > 1:
            raise ValueError("--job measures one job: give one recipe")
        with interrupts_raised():
            try:
                reproduce(names, options, platform, sets)
            except Exception:
                settle(options, platform)
                raise
            settle(options, platform)
    except KeyboardInterrupt:
        ERR.print(
            f"left. Jobs go on; the same command attaches to them. To stop them: AGON_HOME={options.home} agon down"
        )
        return 130
    except (
        NoImages,
        JobEnded,
        Unfinished,
        SpecError,
        StackError,
        ClientError,
        TrainingError,
        ValueError,
        OSError,
    ) as error:
        ERR.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        return 1
    return 0


def settle(options: argparse.Namespace, platform: Platform) -> None:
    """Leave no idle stack behind."""
    if not options.submit_only and platform.leave():
        ERR.print(f"the stack is stopped; its jobs and models stay in {options.home}")


def chosen(asked: Sequence[str]) -> list[str]:
    """The recipes that were asked for, in the table's order for `all`. Raises ValueError that names what there is."""
    known = [name for name, protocol in PROTOCOLS.items() if protocol.trains(name) in recipes()]
    if "all" in asked:
        return known
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(f"no reproduction of {', '.join(unknown)}; there are all, {', '.join(known)}")
    return list(dict.fromkeys(asked))


def with_images(names: Sequence[str], options: argparse.Namespace, data: Path) -> tuple[list[str], dict[str, Splits]]:
    """The recipes with each one's images. Raises NoImages; but of `all`, those whose images are not there are left out."""
    there: dict[str, Splits] = {}
    for name in names:
        images = PROTOCOLS[name].data
        try:
            there[name] = Splits(images, images.find(getattr(options, images.name)), data)
        except NoImages as error:
            if "all" not in options.recipes:
                raise
            ERR.print(f"{name} is left out: {error}", markup=False)
    if not there:
        raise NoImages("there are no images for any recipe")
    return list(there), there


def reproduce(
    names: Sequence[str], options: argparse.Namespace, platform: Platform, sets: Mapping[str, Splits]
) -> None:
    """Submit everything, then follow, measure and write one recipe after the other."""
    if options.job:
        folder = Path(options.job) if Path(options.job).is_dir() else platform.job_folder(options.job)
        finish(names[0], options, sets[names[0]], [(folder, folder.name)])
        return
    jobs = {}
    for name in names:
        for seed in options.seeds:
            job, new = platform.submit(spec(name, options, sets[name], seed))
            jobs[name, seed] = job
            ERR.print(f"{name}, seed {seed}: job {job.id} {'submitted' if new else f'found ({job.state})'}")
    ended = []
    for name in () if options.submit_only else names:
        try:
            done = [platform.follow(jobs[name, seed]) for seed in options.seeds]
        except JobEnded as error:  # the others are still worth measuring
            ended.append(f"{name}: {error}")
            continue
        finish(name, options, sets[name], [(platform.job_folder(job.id), job.id) for job in done])
    if ended:
        raise JobEnded("; ".join(ended))


def spec(name: str, options: argparse.Namespace, images: Splits, seed: int) -> JobSpec:
    """The job's spec with the command's changes."""
    protocol = PROTOCOLS[name]
    base = recipes()[protocol.trains(name)]()
    return spec_of(
        name,
        protocol,
        base,
        url=images.url("train", base.arch),
        images=options.images,
        seed=seed,
        changes=options.set,
    )


def finish(name: str, options: argparse.Namespace, images: Splits, folders: Sequence[tuple[Path, str]]) -> None:
    """Measure finished trainings of one recipe; write JSON, pictures and the documents' tables."""
    scale = QUICK if options.quick else Scale()
    cases = [(Case(Trained(folder), images, scale), job) for folder, job in folders]
    runs = [measured(PROTOCOLS[name], case, job) for case, job in cases]
    path = results.path_of(name, options.quick, options.out)
    reason = options.reason or results.earlier_reason(path)
    result = results.record(name, PROTOCOLS[name], runs, quick=options.quick, reason=reason)
    results.write(path, result)
    results.show(result, OUT)
    # A quick run's pictures are quoted nowhere either.
    folder = options.out / "quick" if options.quick and options.images_out == pictures.FOLDER else options.images_out
    for picture in (*pictures.draw(name, cases[0][0], folder), *curves.draw(options.out, folder)):
        ERR.print(f"drawn: {picture}")
    ERR.print(f"written: {path}")
    if not options.quick and options.out == results.FOLDER:
        tables.write()


def measured(protocol: Protocol, case: Case, job: str) -> results.Run:
    """All figures of one training."""
    figures = []
    for measure in protocol.measures:
        with ERR.status(f"measuring {job} …"):
            for figure in measure(case):
                figures.append(figure)
                ERR.print(f"  {figure.name}: {shown(figure.as_json())}", markup=False)
    return results.Run(case.trained, job, tuple(figures))


if __name__ == "__main__":
    sys.exit(main())
