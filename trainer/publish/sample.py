"""`agon sample`: pictures of a published model, and the latents behind them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from trainer.checksums import verify_checksums
from trainer.families.table import families_with
from trainer.images import grid, save_png
from trainer.publish.controls import controls
from trainer.publish.files import Latents as Saved
from trainer.publish.files import load_latents, read_images, save_latents
from trainer.publish.portable import parameters
from trainer.publish.portable.generator import Generator
from trainer.publish.pull import package_of
from trainer.publish.sheets import SAMPLES, Sheet, Told, Wanted, decoded, reconstructions, samples, stream
from trainer.publish.terminal import Json, make_folder, note, progress, said

Out = Annotated[
    str | None,
    typer.Option(
        metavar="PNG|FOLDER/",
        help="Picture to write; or a folder, with a slash at its end or there already, for each image as a PNG of its own.",
    ),
]
LABELS = "labels.csv"
"""Beside single images of a model with classes: file and label, as `agon data pack` reads them."""
Count = Annotated[
    int | None,
    typer.Option("-n", min=1, help="Number of images. Default: 64; of a traversal, 10 rows; of --encode, at most 64."),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="Classes, one per row of the picture: 'cat,dog', '0,1,2', or 'balanced' for all. Default: random."
    ),
]
Truncation = Annotated[
    float | None,
    typer.Option(help="Draw coordinates of z outside ±this again: fewer kinds, each better. Normal priors only."),
]
Code = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUES",
        help="Set a latent code, c1=3, or vary it: c1=0..9, c1=0,4,7, c2=-1:1:10 (10 values from -1 to 1). The first that "
        "varies does so along each row, a second one from row to row. Repeatable.",
    ),
]
Traverse = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Vary a latent code over its range: a categorical one over all values, a continuous one from -2 to 2. "
        "Repeatable.",
    ),
]
Encode = Annotated[
    list[str] | None,
    typer.Option(
        metavar="IMAGE|FOLDER|URL",
        help="Instead of samples: images x above their reconstructions G(E(x)). An image, folder, zip, builtin:digits "
        "(repeatable), or the folder or URL of packed data.",
    ),
]
FromLatents = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Instead of samples: the images of latents that --latents wrote."),
]
Latents = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the images' z too, as an .npz file, with their labels and truncation."),
]


@dataclass(frozen=True)
class Options:
    """The command line."""

    n: int | None
    labels: str | None
    seed: int | None
    truncation: float | None
    code: tuple[str, ...]
    traverse: tuple[str, ...]
    encode: tuple[str, ...]
    from_latents: Path | None


def sample(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="NAME, NAME@alias, NAME/version, or a package's folder.")
    ],
    out: Out = None,
    n: Count = None,
    labels: Labels = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same images. Default: 0.")] = None,
    truncation: Truncation = None,
    code: Code = None,
    traverse: Traverse = None,
    encode: Encode = None,
    from_latents: FromLatents = None,
    latents: Latents = None,
    json_: Json = False,
) -> None:
    """Draw images of a model as one picture, or as many.

    Examples:

    - `agon sample demo -n 80 --labels balanced --out grid.png`

    - `agon sample demo -n 50000 --out images/`

    - `agon sample infogan --traverse c1 --out digits.png`

    - `agon sample infogan --code c1=3 --traverse c2 --traverse c3 --out plane.png`

    - `agon sample bigan --encode photos/ --latents z.npz --out reconstructions.png`

    - `agon sample bigan --from-latents z.npz --out again.png`
    """
    with said():
        if out is None and latents is None:
            raise ValueError("nothing to write; give --out PICTURE.png, or --latents FILE.npz")
        repeated = {
            "code": tuple(code or ()),
            "traverse": tuple(traverse or ()),
            "encode": tuple(encode or ()),
        }
        options = Options(n, labels, seed, truncation, from_latents=from_latents, **repeated)
        _compatible(options)
        single = _is_folder(out)
        if single:
            _fits_a_folder(Path(str(out)), options, latents)
        with package_of(model) as folder, progress("drawing") as told:
            verify_checksums(folder)
            generator = Generator(folder)
            if single:
                _write_each(Path(str(out)), *stream(generator, _wanted(generator, options)), told)
            else:
                sheet, names = _draw(generator, options, told)
        if not single:
            _write(sheet, names, None if out is None else Path(out), latents)
        _print(None if out is None else Path(out), latents, model, json_)


def _write(sheet: Sheet, names: list[str], out: Path | None, latents: Path | None) -> None:
    """The picture, and the latents behind it."""
    if sheet.says:
        note(sheet.says)
    for path in (latents, out):
        if path is not None:
            make_folder(path.parent)
    if latents is not None:
        save_latents(latents, Saved(sheet.z, sheet.labels, sheet.truncation), names)
    if out is not None:
        save_png(out, grid(sheet.images, sheet.columns))


def _is_folder(out: str | None) -> bool:
    return out is not None and (out.endswith("/") or Path(out).is_dir())


def _fits_a_folder(out: Path, options: Options, latents: Path | None) -> None:
    """Raise ValueError for what belongs in one picture, and for a folder of other images."""
    others = {"--encode": options.encode, "--from-latents": options.from_latents, "--latents": latents}
    if extra := [name for name, value in others.items() if value not in (None, ())]:
        raise ValueError(f"--out {out}/ takes samples alone, without {', '.join(extra)}; give --out PICTURE.png")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}/: is a file; name a folder, or the PNG without a slash")
    if out.is_dir() and (any(out.glob("*.png")) or (out / LABELS).exists()):
        raise ValueError(f"--out {out}/: holds images already; name another folder")


def _write_each(
    out: Path, n: int, batches: Iterator[NDArray[np.uint8]], labels: NDArray[np.int64] | None, told: Told
) -> None:
    """`000000.png` and so on, at the model's own size, a batch at a time; with labels, a table of them."""
    make_folder(out)
    digits, done = max(6, len(str(n - 1))), 0
    for images in batches:
        for image in images:
            save_png(out / f"{done:0{digits}}.png", image)
            done += 1
        told(done, n)
    if labels is not None:
        with (out / LABELS).open("w", newline="", encoding="utf-8") as file:
            rows = ((f"{number:0{digits}}.png", int(label)) for number, label in enumerate(labels))
            csv.writer(file).writerows([("file", "label"), *rows])


def _compatible(options: Options) -> None:
    """Raise ValueError for options of which one leaves no room for the other."""
    drawing = {
        "--code": options.code, "--traverse": options.traverse, "--truncation": options.truncation, "--seed": options.seed,
    }  # fmt: skip
    for name, given, others in (
        ("--encode", options.encode, {**drawing, "--from-latents": options.from_latents}),
        ("--from-latents", options.from_latents, drawing),
    ):
        extra = [other for other, value in others.items() if value not in (None, ())]
        if given and extra:
            raise ValueError(f"{name} draws no samples, so {', '.join(extra)} can't be given with it; leave one out")


def _wanted(generator: Generator, options: Options) -> Wanted:
    """The samples that the options ask for."""
    rows = chosen_labels(options.labels, generator.config)
    asked = controls(generator.config, options.code, options.traverse)
    return Wanted(asked, options.n, options.seed or 0, rows, options.truncation)


def _draw(generator: Generator, options: Options, told: Told) -> tuple[Sheet, list[str]]:
    """The picture, and the names of the files that were encoded for it."""
    config = generator.config
    rows = chosen_labels(options.labels, config)
    if options.encode:
        if not config["encoder"]:
            raise ValueError(_no_encoder(config))
        given = read_images(options.encode, config["resolution"], config["channels"], options.n or SAMPLES)
        for line in given.notes:
            note(line)
        return reconstructions(generator, given.pixels, _labels(rows, None)), given.names
    if options.from_latents:
        z, known, truncation = load_latents(options.from_latents)
        labels = _labels(rows, None if known is None else known[: options.n])
        return decoded(generator, z[: options.n], labels, truncation, told), []
    return samples(generator, _wanted(generator, options), told), []


def _labels(rows: list[int], otherwise: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    return np.array(rows, np.int64) if rows else otherwise


def _no_encoder(config: dict[str, Any]) -> str:
    """Why images can't be encoded, and what to do."""
    able = families_with("encoder")
    if config["family"] in able:
        return "this model was published without its encoder; train it with publish.encoder=true"
    return (
        f"family {config['family']} has no encoder, so images can't be encoded; families that have: {', '.join(able)}"
    )


def chosen_labels(labels: str | None, config: Mapping[str, Any]) -> list[int]:
    """Classes of the picture's rows, given by names or numbers; empty for random labels. Raises ValueError for others."""
    if labels is None:
        return []
    if labels == "balanced" and config["classes"]:
        return list(range(config["classes"]))
    one = labels in config.get("class_names", ())  # a name may hold a comma
    found = parameters.labels(config, [labels] if one else [label.strip() for label in labels.split(",")])
    return [int(number) for number in np.asarray(found)]


def _print(out: Path | None, latents: Path | None, model: str, as_json: bool) -> None:
    written = {name: str(path) for name, path in (("path", out), ("latents", latents)) if path is not None}
    typer.echo(json.dumps({**written, "model": model}) if as_json else "\n".join(written.values()))
