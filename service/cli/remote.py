"""agon sample --remote: the cluster draws, and the picture comes over HTTP; this machine needs no torch and no model."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import Exit, err, fail, hand_on, note, print_json, write_whole
from service.cli.specs import Json

if TYPE_CHECKING:
    from service.client import Answer, Client

FLAG = "--remote"
SAMPLES = 64
FORMS = {".png": "png", ".webp": "webp", ".gif": "gif", ".mp4": "mp4", ".npz": "npz", ".zip": "pngs"}
"""What is asked for, by the end of the file's name."""
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
MOST_FILES = 64
"""As many as one question takes."""
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="NAME (its champion), NAME@alias or NAME/version in the registry.")
]
Out = Annotated[
    str,
    typer.Option(
        metavar="FILE|FOLDER/",
        help="Where to; its end says as what: .png, .webp, .gif or .mp4 (what moves), .npz (arrays), .zip, or a folder with a"
        " slash at its end (each image as a PNG of its own).",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="Classes, one a row of the picture: 'cat,dog', '0,1,2'; or 'balanced'. A path and a traversal have one. Default: random."
    ),
]
Code = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Set a latent code for all images: c1=3. Repeatable.")
]
Encode = Annotated[
    list[str] | None,
    typer.Option(
        metavar="IMAGE|FOLDER",
        help=f"Images above their reconstructions G(E(x)); with .npz their latents. At most {MOST_FILES} files. Repeatable.",
    ),
]
app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)


@dataclass(frozen=True)
class _Asked:
    """The command line."""

    model: str
    form: Any
    n: int | None
    rows: tuple[str, ...]
    seed: int
    truncation: float | None
    codes: dict[str, float]
    fps: int | None
    frames: int | None


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def sample(
    model: Model,
    out: Out,
    n: Annotated[
        int | None, typer.Option("-n", min=1, help=f"Number of images; of a traversal, rows. Default: {SAMPLES}; 8.")
    ] = None,
    labels: Labels = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same images.")] = 0,
    truncation: Annotated[
        float | None, typer.Option(help="Draw coordinates of z outside ±this again. Normal priors only.")
    ] = None,
    code: Code = None,
    traverse: Annotated[
        str | None, typer.Option(metavar="NAME", help="Vary a latent code over its range along each row.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="Go through the latents from seed to seed: 1,2,3.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=2, help="Of a path, from one seed to the next. Default: 30.")
    ] = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Frames a second of what moves. Default: 15.")] = None,
    encode: Encode = None,
    neighbours: Annotated[
        int | None,
        typer.Option(metavar="K", min=1, help="The K nearest training images of each sample. Default of -n: 8."),
    ] = None,
    json_: Json = False,
) -> None:
    """Have the cluster draw images of a registered model: `agon sample MODEL --remote --out grid.png`.

    Where no replica is ready, one is started, and the command waits. The same question to the same version gets the same bytes.

    Examples:

    - `agon sample demo --remote -n 80 --labels balanced --out grid.png`
    - `agon sample demo@champion --remote --path 1,2,3,1 --out walk.webp`
    - `agon sample infogan --remote --traverse c1 --out digits.png`
    - `agon sample bigan --remote --encode photos/ --out reconstructions.png`
    - `agon sample demo --remote --neighbours 5 --out nearest.png`
    """
    others = {"--traverse": traverse, "--path": path, "--encode": encode, "--neighbours": neighbours}
    if len(given := [name for name, value in others.items() if value]) > 1:
        raise typer.BadParameter(f"{' and '.join(given)} are different pictures; give one of them")
    for name, value, needs in (("--frames", frames, path), ("--fps", fps, path or traverse)):
        if value is not None and not needs:
            raise typer.BadParameter(
                f"{name} is of what moves; give it with --path" + ("" if name == "--frames" else " or --traverse")
            )
    asked = _Asked(model, _form(out), n, _rows(labels), seed, truncation, _codes(code or []), fps, frames)
    from service.client import Client

    with Client() as client, err.status("asking the cluster"):
        if path:
            answer = _path(client, asked, path)
        elif traverse:
            answer = _traverse(client, asked, traverse)
        elif encode:
            answer = _encoded(client, asked, encode)
        elif neighbours:
            answer = client.neighbours(
                model,
                n or 8,
                seed=seed,
                labels=_each(asked, n or 8),
                truncation=truncation,
                k=neighbours,
                form=asked.form,
            )
        else:
            answer = _samples(client, asked)
    written = _write(answer, out)
    if json_:
        print_json({"path": str(written), "model": answer.model})
        return
    typer.echo(str(written))
    note(f"of version {answer.model.rpartition('/')[2]} of {answer.model.rpartition('/')[0]}")


def _samples(client: Client, asked: _Asked) -> Answer:
    """A row a class, where there are classes, as without --remote."""
    n = asked.n or SAMPLES
    if asked.rows in ((), ("balanced",)):
        labels: Any = "balanced" if asked.rows else None
        columns = None
    else:
        labels, columns = _each(asked, n), math.ceil(n / len(asked.rows))
    options = {"truncation": asked.truncation, "form": asked.form, "columns": columns}
    return client.generate(asked.model, n, seed=asked.seed, labels=labels, codes=asked.codes, **options)


def _each(asked: _Asked, n: int) -> Any:
    """The class of each of n images, where those of rows are given."""
    if asked.rows in ((), ("balanced",)):
        return "balanced" if asked.rows else None
    columns = math.ceil(n / len(asked.rows))
    return [row for row in asked.rows for _ in range(columns)][:n]


def _path(client: Client, asked: _Asked, seeds: str) -> Answer:
    try:
        stops = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--path {seeds}: write seeds, 1,2,3") from None
    if asked.codes:
        raise typer.BadParameter("--code goes with samples; a path has the codes of its first seed")
    timing: dict[str, Any] = {"frames": asked.frames or 30, "fps": asked.fps or 15}
    return client.path(asked.model, stops, label=_one(asked), truncation=asked.truncation, form=asked.form, **timing)


def _traverse(client: Client, asked: _Asked, code: str) -> Answer:
    if asked.codes:
        raise typer.BadParameter("--code and --traverse together are for `agon sample` without --remote")
    options = {"rows": asked.n or 8, "fps": asked.fps or 10, "form": asked.form}
    return client.traverse(
        asked.model, code, seed=asked.seed, label=_one(asked), truncation=asked.truncation, **options
    )


def _encoded(client: Client, asked: _Asked, sources: Sequence[str]) -> Answer:
    files = _files(sources, asked.n or MOST_FILES)
    if asked.form == "npz":
        return client.encode(asked.model, files)
    return client.reconstruct(asked.model, files, label=_one(asked), form=asked.form)


def _files(sources: Sequence[str], most: int) -> list[Path]:
    """The images that are named, and those in folders that are."""
    found: list[Path] = []
    for source in map(Path, sources):
        inside = (
            sorted(path for path in source.iterdir() if path.suffix.lower() in PICTURES)
            if source.is_dir()
            else [source]
        )
        if not inside:
            fail(f"--encode {source}: the folder holds no images", Exit.USAGE)
        found += inside
    if len(found) > most:
        note(f"{len(found)} images are there; the first {most} are used")
    return found[:most]


def _one(asked: _Asked) -> str | None:
    if len(asked.rows) > 1:
        raise typer.BadParameter(f"--labels has {len(asked.rows)} classes; here is room for one")
    return asked.rows[0] if asked.rows else None


def _rows(labels: str | None) -> tuple[str, ...]:
    return tuple(label.strip() for label in labels.split(",")) if labels else ()


def _codes(texts: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"--code {text}: write NAME=VALUE with one number; what varies is --traverse NAME"
            ) from None
    return found


def _form(out: str) -> str:
    if out.endswith("/"):
        return "pngs"
    if (form := FORMS.get(Path(out).suffix.lower())) is None:
        raise typer.BadParameter(f"--out {out}: end it in {', '.join(FORMS)}, or in / for a folder")
    return form


def _write(answer: Answer, out: str) -> Path:
    """The file; of a folder, the images one by one."""
    target = Path(out)
    if not out.endswith("/"):
        return answer.save(target)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        for entry in archive.infolist():
            if Path(entry.filename).name != entry.filename:
                fail(f"the answer has a file {entry.filename!r}, which belongs in no folder", Exit.FAILED)
            write_whole(target / entry.filename, archive.read(entry))
    return target


def run(arguments: Sequence[str]) -> None:
    """`agon sample` with these words, without FLAG."""
    hand_on(app, arguments, f"agon sample {FLAG}")
