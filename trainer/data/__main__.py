"""`python -m trainer.data pack|check`, which the `agon data` verbs run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trainer.access import Access
from trainer.data.check import Checked, check
from trainer.data.pack import Options, Packed, pack
from trainer.errors import BadDataError, DataAwayError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
talk = Console(stderr=True, highlight=False, soft_wrap=True)
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout; no progress bar.")]


@app.callback()
def main() -> None:
    """Bring images: pack them into shards that a job can stream, and check what lies at a URL."""


@app.command("pack")
def pack_command(
    source: Annotated[str, typer.Argument(help="A folder or zip of images, or builtin:digits.")],
    out: Annotated[Path, typer.Argument(help="Folder for dataset.json and the shards: new, empty, or this dataset's.")],
    resolution: Annotated[
        int | None, typer.Option(min=8, max=512, help="Pixels a side. Default: the images' own.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=3, help="1 grey, 3 RGB. Default: as the images are.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, max=16384, help="MiB after which a new shard is begun.")] = 64,
    split: Annotated[
        str | None, typer.Option(help="Pack this split only (train, test, val), straight into OUT.")
    ] = None,
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

      class folders      cats/1.jpg dogs/2.png      → labelled, classes in alphabetical order

      splits             train/cats/… test/cats/…   → OUT/train and OUT/test, each a dataset

      a flat folder      1.jpg 2.png                → without labels (arch.classes: 0)

    Images are turned as their EXIF says, cropped to the central square, resized with
    antialiasing and stored as PNG in a fixed shuffled order. Unreadable ones are listed
    and skipped. The same images give the same bytes and digest.

    Then train on it: agon submit RECIPE --set data.url=OUT
    """
    if channels == 2:
        raise typer.BadParameter("use 1 (grey) or 3 (RGB)", param_hint="--channels")
    kind: Literal[1, 3] | None = None if channels is None else 1 if channels == 1 else 3
    options = Options(resolution, kind, shard_size << 20, split, max_corrupt, workers, force, name)
    with _progress("packing", as_json) as bar:
        task = bar.add_task("packing", total=None)
        try:
            packed = pack(source, out, options, lambda done, total: bar.update(task, completed=done, total=total))
        except BadDataError as error:
            bar.stop()
            _fail(error, as_json)
    if as_json:
        typer.echo(json.dumps([item.model_dump(mode="json") for item in packed], ensure_ascii=False))
        return
    for item in packed:
        _show(item)


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
        _tell(found)
    raise typer.Exit(0 if found.ok else 1)


def _progress(what: str, as_json: bool) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=talk, transient=True, disable=as_json)


def _fail(error: BadDataError | DataAwayError, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
    talk.print(f"[red]error:[/] {escape(str(error))}")
    raise typer.Exit(1)


def _show(item: Packed) -> None:
    manifest = item.manifest
    size = sum(shard.size for shard in manifest.shards) / 2**20
    table = Table(show_header=False, box=None)
    table.add_row(
        "dataset", escape(f"{manifest.name} → {item.path}") + ("" if item.written else "  (was there already)")
    )
    colour = "grey" if manifest.channels == 1 else "RGB"
    table.add_row("images", f"{manifest.samples:,} of {manifest.resolution}×{manifest.resolution} px, {colour}")
    if manifest.classes:
        shown = ", ".join(
            f"{name} {count:,}" for name, count in list(zip(manifest.classes, manifest.class_counts, strict=True))[:12]
        )
        more = f", … ({len(manifest.classes)} classes)" if len(manifest.classes) > 12 else ""
        table.add_row("classes", escape(shown) + more)
    else:
        table.add_row("classes", "none: set arch.classes to 0")
    table.add_row("shards", f"{len(manifest.shards)} ({size:,.1f} MiB)")
    table.add_row("digest", manifest.digest)
    talk.print(table)
    for warning in item.warnings:
        talk.print(f"[yellow]warning:[/] {escape(warning)}")
    if item.corrupt:
        talk.print(f"[yellow]skipped:[/] {len(item.corrupt):,} unreadable images")
        for corrupt in item.corrupt[:20]:
            talk.print(f"  {escape(corrupt.file)} {escape(corrupt.reason)}")


def _tell(found: Checked) -> None:
    for problem in found.problems:
        talk.print(f"[red]error:[/] {escape(problem)}")
    if found.ok:
        manifest = found.manifest
        talk.print(f"whole: {manifest.samples:,} images in {len(manifest.shards)} shards, digest {manifest.digest}")


if __name__ == "__main__":
    app()
