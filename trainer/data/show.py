"""What `agon data pack` and `agon data check` say to a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainer.data.check import Checked
from trainer.data.files import Ignored
from trainer.data.layouts.base import plural
from trainer.data.pack import Packed
from trainer.data.writer import PACKING

CORRUPT_SHOWN = 20
KINDS_SHOWN = 10


def show(item: Packed, talk: Console) -> None:
    """One packed dataset: what it is, what stands out, what was skipped."""
    manifest = item.manifest
    size = sum(shard.size for shard in manifest.shards) / 2**20
    table = Table(show_header=False, box=None)
    table.add_row(
        "dataset", escape(f"{manifest.name} → {item.path}") + ("" if item.written else "  (was there already)")
    )
    table.add_row("read as", escape(item.read_as))
    colour = "grey" if manifest.channels == 1 else "RGB"
    table.add_row("images", f"{manifest.samples:,} of {manifest.resolution}×{manifest.resolution} px, {colour}")
    if changes := _changes(item):
        table.add_row("", changes)
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
        talk.print(f"[yellow]skipped:[/] {plural(len(item.corrupt), 'image')} that can't be used")
        for corrupt in item.corrupt[:CORRUPT_SHOWN]:
            talk.print(f"  {escape(corrupt.file)} {escape(corrupt.reason)}")
        if len(item.corrupt) > CORRUPT_SHOWN:
            talk.print(f"  … all of them: {escape(str(Path(item.path) / PACKING))}, or --json")


def show_ignored(ignored: Sequence[Ignored], where: Path, talk: Console) -> None:
    """What was not taken for an image: how many of which kind, and why."""
    if not ignored:
        return
    talk.print(
        f"[yellow]ignored:[/] {plural(len(ignored), 'file')}; all of them: {escape(str(where / PACKING))}, or --json"
    )
    kinds = Counter((item.reason, _kind(item.file)) for item in ignored)
    for (reason, kind), count in kinds.most_common(KINDS_SHOWN):
        talk.print(f"  {count:,} {escape(kind)}: {escape(reason)}")
    if len(kinds) > KINDS_SHOWN:
        talk.print(f"  … and {plural(len(kinds) - KINDS_SHOWN, 'kind')} more")


def tell(found: Checked, talk: Console) -> None:
    """The result of a check."""
    for problem in found.problems:
        talk.print(f"[red]error:[/] {escape(problem)}")
    for warning in found.warnings:
        talk.print(f"[yellow]warning:[/] {escape(warning)}")
    if found.ok:
        manifest = found.manifest
        whole = f"{plural(manifest.samples, 'image')} in {plural(len(manifest.shards), 'shard')}"
        talk.print(f"whole: {whole}, digest {manifest.digest}")


def _changes(item: Packed) -> str:
    census = item.census
    sizes = (
        f"{census.smallest:,}" if census.smallest == census.largest else f"{census.smallest:,} to {census.largest:,}"
    )
    done = [(census.shrunk, "shrunk"), (census.enlarged, "enlarged"), (census.greyed, "made grey")]
    words = ", ".join(f"{count:,} {word}" for count, word in done if count)
    return f"from {sizes} px (the shorter side): {words}" if words else ""


def _kind(file: str) -> str:
    if file.endswith("/"):
        return "folders"
    return PurePosixPath(file).suffix.lower() or f"named {PurePosixPath(file).name}"
