"""agon samples: the sample grids that a training keeps, and their single images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import ago, print_json, print_table, size, write_whole
from service.cli.specs import Json
from service.cli.trained import Trained, id_of

if TYPE_CHECKING:
    from service.client import Client, SampleGrid


def samples(
    job: Trained,
    step: Annotated[
        int | None, typer.Option(min=0, help="The grid of that step.", show_default="the newest there is")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every grid that is kept, a file each.")] = False,
    tile: Annotated[
        int | None, typer.Option(min=0, help="Only that image of the grid, counted from 0, row by row.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|DIR",
            help="Where to; a name that ends in / is a folder, and with --all any is. Default: a name made of job and step,"
            " here; with --all in a folder JOB-samples.",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the grids that are kept, and fetch none.")] = False,
    json_: Json = False,
) -> None:
    """Fetch sample grids: pictures of samples from latents that stay the same over the training, so that they compare.

    A training draws one every samples.every_steps steps and keeps them all. Of a dataset with classes each row is a class.
    Without options the newest is fetched; the paths of what was written go to stdout. `--all --tile N` shows how one image
    grows up. An image alone is as G drew it: in a grid, small ones are enlarged.

    Examples:

    - `agon samples dcgan-digits`
    - `agon samples dcgan-digits --list`
    - `agon samples dcgan-digits --step 500 --out grid.png`
    - `agon samples j-0123456789 --all --out grids/`
    - `agon samples j-0123456789 --all --tile 0 --out one/`
    - `agon samples digits-lr/3 --out trial.png`
    """
    if sum((step is not None, all_, list_)) > 1:
        raise typer.BadParameter("give one of --step, --all and --list")
    if list_ and (tile is not None or out is not None):
        raise typer.BadParameter("--list fetches nothing; --tile and --out go without it")
    from service.client import Client

    with Client() as client:
        source = _Source(client, id_of(client, job))
        grids = list(client.every_sample_grid(source.id)) if all_ or list_ else []
        if list_:
            _print(grids, source.id, json_)
            return
        steps = [grid.step for grid in grids] if all_ else [source.newest() if step is None else step]
        written = [_write(source.fetch(at, tile), _path(source.id, at, tile, out, all_), at) for at in steps]
    if json_:
        print_json(written)
        return
    for told in written:
        typer.echo(told["path"])
    if not written:
        print_table((), (), f"{source.id} has drawn no samples yet")


@dataclass(frozen=True)
class _Source:
    """Whose grids."""

    client: Client
    id: str
    """A job's, or `SEARCH/TRIAL`."""

    def newest(self) -> int:
        """The newest step of which there is a grid. Raises NotFound."""
        page = self.client.trial_sample_grids if "/" in self.id else self.client.sample_grids
        if not (found := page(self.id, limit=1).items):
            from service.client import NotFound

            raise NotFound(404, "Not found", f"{self.id} has drawn no samples yet", [])
        return found[0].step

    def fetch(self, step: int, tile: int | None) -> bytes:
        """A PNG. Raises NotFound."""
        return (self.client.trial_samples if "/" in self.id else self.client.samples)(self.id, step, tile)


def _path(name: str, step: int, tile: int | None, out: str | None, all_: bool) -> Path:
    """Where a picture goes."""
    stem = name.replace("/", "-")
    if out is not None and not all_ and not out.endswith(os.sep) and not Path(out).is_dir():
        return Path(out)
    folder = out if out is not None else f"{stem}-samples" if all_ else "."
    return Path(folder) / (f"{stem}-step-{step:09d}" + ("" if tile is None else f"-tile-{tile:04d}") + ".png")


def _write(picture: bytes, path: Path, step: int) -> dict[str, Any]:
    write_whole(path, picture)
    return {"step": step, "path": str(path)}


def _print(grids: Sequence[SampleGrid], name: str, json_: bool) -> None:
    if json_:
        print_json([grid.model_dump(mode="json") for grid in grids])
        return
    rows = [(grid.step, _count(grid.images), _tiles(grid), size(grid.bytes), ago(grid.drawn_at)) for grid in grids]
    print_table(("step", "images", "tiles", "size", "drawn"), rows, f"{name} has drawn no samples yet")


def _count(images: int | None) -> str:
    return "–" if images is None else f"{images:,}"


def _tiles(grid: SampleGrid) -> str:
    """`60 of 16×16`."""
    return f"{grid.tiles.count} of {grid.tiles.width}×{grid.tiles.height}" if grid.tiles else "–"
