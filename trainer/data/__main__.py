"""`python -m trainer.data pack|check`, which the `agon data` verbs run."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer import commandline
from trainer.access import Access
from trainer.data.bring import Wanted, bring, default_root, slug
from trainer.data.check import check
from trainer.data.layout import class_list
from trainer.data.layouts.table import LAYOUTS
from trainer.data.pack import Options, Packed, pack
from trainer.data.show import show, show_ignored, tell
from trainer.errors import BadDataError, DataAwayError

app = commandline.program(no_args_is_help=True)
talk = Console(stderr=True, highlight=False, soft_wrap=True)
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout; no progress bar.")]


@app.callback()
def main() -> None:
    """Bring images: pack them into shards that a job can stream, and check what lies at a URL."""


@app.command("pack")
def pack_command(
    source: Annotated[str, typer.Argument(help="A folder, zip or tar of images, or builtin:digits.")],
    out: Annotated[
        Path | None,
        typer.Argument(
            help="Folder for dataset.json and the shards: new, empty, or this dataset's.",
            show_default="$AGON_HOME/data/NAME, where jobs of the local stack may read",
        ),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=8, max=512, help="Pixels a side. Default: the images' own.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=3, help="1 grey, 3 RGB. Default: as the images are.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help=f"How to read SOURCE where there are several ways: {', '.join(LAYOUTS)}.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Pack this split only (train, test, val), straight into OUT.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Classes in label order: a,b,c or a file of lines. Default: 0, 1, 2, 10 or a, b, c."),
    ] = None,
    empty_classes: Annotated[
        Literal["refuse", "keep", "drop"], typer.Option(help="A class without images: an error, numbered, or left out.")
    ] = "refuse",
    label_column: Annotated[str | None, typer.Option(help="Column of a table that holds the labels.")] = None,
    values: Annotated[
        str | None,
        typer.Option("--range", help="LOW:HIGH, the values that become black and white in images of more than 8 bits."),
    ] = None,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links that lead out of SOURCE.")] = False,
    shard_size: Annotated[int, typer.Option(min=1, max=16384, help="MiB after which a new shard is begun.")] = 64,
    max_corrupt: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of unreadable images to skip.")
    ] = 0.01,
    workers: Annotated[int, typer.Option(min=0, max=256, help="Processes; 0: one a core. The result is the same.")] = 0,
    name: Annotated[str | None, typer.Option(help="The dataset's name. Default: the source's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another dataset in OUT.")] = False,
    as_json: Json = False,
) -> None:
    """Pack images into WebDataset shards (plain tars of NNNNNNNNN.png and .cls) and a dataset.json.

    SOURCE is read as

    - class folders, `cats/1.jpg dogs/2.png`: labelled, classes in natural order (0, 1, 2, 10)
    - splits, `train/cats/… test/cats/…`: OUT/train and OUT/test, each a dataset
    - a flat folder, `1.jpg 2.png`: without labels (arch.classes: 0)
    - labels in a file: dataset.json of StyleGAN, a CSV of file and label, metadata.csv or metadata.jsonl of
      Hugging Face, tars of WebDataset with .cls

    It says which one it took, and refuses what can be read in two ways; choose with --layout.

    Images are found by their bytes, whatever their names; all else is listed. They are
    turned as their EXIF says, cropped to the central square, resized with antialiasing and
    stored as PNG in a fixed shuffled order. Unreadable ones are listed and skipped. The
    same images give the same bytes and digest.

    Then train on it: `agon submit RECIPE --set data.url=OUT`
    """
    if channels == 2:
        raise typer.BadParameter("use 1 (grey) or 3 (RGB)", param_hint="--channels")
    kind: Literal[1, 3] | None = None if channels is None else 1 if channels == 1 else 3
    out = out or default_root() / slug(name or source)
    with _progress("packing", as_json) as bar:
        task = bar.add_task("packing", total=None)
        try:
            options = Options(
                resolution, kind, shard_size << 20, split, max_corrupt, workers, force, name, layout,
                None if classes is None else class_list(classes), empty_classes, label_column, _range(values), follow_links,
            )  # fmt: skip
            packed = pack(source, out, options, lambda done, total: bar.update(task, completed=done, total=total))
        except (BadDataError, DataAwayError, OSError) as error:  # the disk is full, or OUT must not be written to
            bar.stop()
            _fail(error, as_json)
    if as_json:
        typer.echo(json.dumps([item.model_dump(mode="json") for item in packed], ensure_ascii=False))
        return
    for item in packed:
        show(item, talk)
    show_ignored(packed[0].ignored, Path(packed[0].path), talk)
    for item in packed:
        talk.print(f"train on it: agon submit RECIPE --data {escape(shlex.quote(item.path))}")


@app.command("bring", hidden=True)
def bring_command(
    source: str,
    root: Path,
    sizes: Annotated[str, typer.Option(help="Resolutions that the family has nets of.")],
    preferred: Annotated[int, typer.Option(help="The spec's resolution.")],
    resolution: Annotated[int | None, typer.Option(help="The one that a person gave.")] = None,
    channels: Annotated[int | None, typer.Option(help="Those that a person gave.")] = None,
    alone: Annotated[bool, typer.Option("--alone", help="For no spec: say options of the packing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """What `agon submit --data` and `agon datasets add` run: pack SOURCE below ROOT unless that was done, and print what there is as JSON."""
    wanted = Wanted(
        tuple(map(int, sizes.split(","))),
        preferred,
        resolution,
        None if channels is None else 1 if channels == 1 else 3,
        "--resolution N" if alone else "--set arch.resolution=N",
    )
    with _progress("packing", quiet) as bar:
        task = bar.add_task("packing", total=None)
        try:
            found = bring(
                source, root, wanted,
                lambda done, total: bar.update(task, completed=done, total=total),
                lambda packed: show(packed if alone else _for_submit(packed), talk),
            )  # fmt: skip
        except (BadDataError, DataAwayError) as error:
            bar.stop()
            _fail(error, as_json=False)
    typer.echo(found.model_dump_json())


def _for_submit(packed: Packed) -> Packed:
    """Its warnings with the options of the verb that was typed."""
    said = (warning.replace("pack with --channels ", "use --set arch.channels=") for warning in packed.warnings)
    return packed.replace(warnings=tuple(said))


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        found = (float(low), float(high))
    except ValueError:
        found = (1.0, 0.0)
    if not colon or not math.isfinite(found[0] + found[1]) or found[0] >= found[1]:
        raise typer.BadParameter(
            f"{text!r} is no range; give LOW:HIGH with LOW below HIGH, such as 0:4095", param_hint="--range"
        )
    return found


@app.command("check")
def check_command(
    url: Annotated[str, typer.Argument(help="Where dataset.json lies: a folder, or a http(s)://, s3:// or gs:// URL.")],
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image too.")] = False,
    root: Annotated[
        list[str] | None, typer.Option(help="Folder that local paths must lie in; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read every shard and compare size, SHA-256, samples and labels with dataset.json. Exit code 1 if anything is wrong."""
    with _progress("checking", as_json) as bar:
        task = bar.add_task("checking", total=None)
        try:
            found = check(
                url,
                Access(roots=tuple(root or ())),
                decode=decode,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except (BadDataError, DataAwayError) as error:
            bar.stop()
            _fail(error, as_json)
    if as_json:
        typer.echo(json.dumps({"ok": found.ok, **found.model_dump(mode="json")}, ensure_ascii=False))
    else:
        tell(found, talk)
    raise typer.Exit(0 if found.ok else 1)


def _progress(what: str, as_json: bool) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=talk, transient=True, disable=as_json)


def _fail(error: BadDataError | DataAwayError | OSError, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
    talk.print(f"[red]error:[/] {escape(str(error))}")
    raise typer.Exit(1)


if __name__ == "__main__":
    commandline.run(app, "trainer.data")
