"""agon compare: what jobs differ in, and what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from service.cli import facts
from service.cli.arguments import connect
from service.cli.jobs import find
from service.cli.output import Exit, fail, note, out, print_json, print_table, state
from service.cli.specs import Json
from trainer.spec.differences import differing, flat, heads

if TYPE_CHECKING:
    from service.client import Curve, Curves, Job

MOST = 50
WIDTH = 40
"""Characters of a curve."""
BARS = "▁▂▃▄▅▆▇█"
NOTHING = "–"
SPAN = 30.0
"""Values above 0 that differ by more than that factor are drawn by their logarithm."""


def compare(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB JOB…", help="Ids or names of two or more jobs.")],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Show the curve of this metric; repeatable.", show_default="scores and losses"),
    ] = None,
    lineage: Annotated[
        bool,
        typer.Option("--lineage", help="Of a fork: also the curves of the jobs that it goes back to, up to the fork."),
    ] = False,
    json_: Json = False,
) -> None:
    """Compare jobs: the fields in which their specs differ, their scores, and their curves over the images shown.

    A metric's curves have one scale, so that they compare; a curve is as long as its job's share of the longest training. A fork's
    begins where its parent's checkpoint was: images are counted from the first that its nets were shown, also before they were its own.

    Examples:

    - `agon compare dcgan-digits j-0123456789ab`
    - `agon compare a b c --metric fid --metric D/accuracy_real`
    - `agon compare parent fork --lineage`
    - `agon compare a b --json | jq .differences`
    """
    with connect() as client:
        found = _distinct([find(client, job) for job in jobs])
        curves = [client.curves(job.id, metrics=metric or (), lineage=lineage) for job in found]
    differences = differing([flat(job.spec) for job in found])
    if json_:
        told = [
            job.model_dump(mode="json") | {"curves": of.model_dump()} for job, of in zip(found, curves, strict=True)
        ]
        print_json({"differences": {path: list(values) for path, values in differences.items()}, "jobs": told})
        return
    named = heads([job.id for job in found], [job.name for job in found])
    _print_specs(named, differences)
    out.print()
    _print_results(named, found, curves)
    out.print()
    _print_curves(named, curves, metric or ())


def _distinct(jobs: Sequence[Job]) -> list[Job]:
    found = list({job.id: job for job in jobs}.values())
    if not 2 <= len(found) <= MOST:
        fail(f"compares 2 to {MOST} different jobs, and got {len(found)}; agon jobs lists them", Exit.USAGE)
    return found


def _print_specs(named: Sequence[str], differences: Mapping[str, tuple[Any, ...]]) -> None:
    rows = [(path, *map(_shown, values)) for path, values in differences.items() if path != "name"]
    if not rows:
        note("their specs are the same")
        return
    print_table(("field", *named), rows, "")


def _shown(value: Any) -> str:
    text = NOTHING if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _print_results(named: Sequence[str], jobs: Sequence[Job], curves: Sequence[Curves]) -> None:
    scores = [job.progress.scores if job.progress else {} for job in jobs]
    names = list(dict.fromkeys(name for of in scores for name in of))
    before = [("shown before", *(f"{of.offset:,}" for of in curves))] if any(of.offset for of in curves) else []
    rows: list[Sequence[Any]] = [
        ("state", *(state(job.state) for job in jobs)),
        ("images", *(f"{job.progress.images:,}" if job.progress else NOTHING for job in jobs)),
        *before,
        *((name, *(_number(of.get(name)) for of in scores)) for name in names),
        ("model", *(f"{job.model.name}/{job.model.version}" if job.model else NOTHING for job in jobs)),
    ]
    print_table(("result", *named), rows, "")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else NOTHING


def _print_curves(named: Sequence[str], curves: Sequence[Curves], chosen: Sequence[str]) -> None:
    """One line a job below each metric."""
    known = {name: [joined(of, name) for of in curves] for name in _names(curves, chosen)}
    if not known:
        note(f"no curve of {', '.join(chosen)}" if chosen else "nothing was measured yet")
        return
    until = max(curve.images[-1] for of in known.values() for curve in of if curve)
    rows = [
        (name if number == 0 else "", named[place], Text(line), f"{_number(curve.last[0])} → {_number(curve.last[-1])}")
        for name, of in known.items()
        for number, (place, curve, line) in enumerate(_lines(of, until))
    ]
    print_table(("curve", "job", f"over {until:,} images", "first → last"), rows, "")


def joined(curves: Curves, name: str) -> Curve | None:
    """That curve over the images that the nets were shown from the first on; None: it has none."""
    found = {**curves.training, **curves.scores}.get(name)
    if found is None or curves.lineage:  # those are counted so
        return found
    return found.model_copy(update={"images": tuple(images + curves.offset for images in found.images)})


def _names(curves: Sequence[Curves], chosen: Sequence[str]) -> list[str]:
    if chosen:
        return [name for name in chosen if any(name in of.training or name in of.scores for of in curves)]
    scores = dict.fromkeys(name for of in curves for name in of.scores)
    told = dict.fromkeys(name for of in curves for name in facts.losses(dict.fromkeys(of.training, 0.0))[0])
    return [*scores, *told]


def _lines(curves: Sequence[Curve | None], until: int) -> Iterable[tuple[int, Curve, str]]:
    """Which job, its curve, and that as text: all on one scale."""
    here = [(place, curve) for place, curve in enumerate(curves) if curve and curve.images]
    values = [value for _, curve in here for value in curve.mean]
    logarithmic = min(values) > 0.0 and max(values) > SPAN * min(values)
    low, high = (math.log(end) if logarithmic else end for end in (min(values), max(values)))
    for place, curve in here:
        scaled = [math.log(value) if logarithmic else value for value in curve.mean]
        yield place, curve, drawn(curve.images, scaled, low, high, until)


def drawn(images: Sequence[int], values: Sequence[float], low: float, high: float, until: int) -> str:
    """A curve as bars: a character a stretch of images, its mean's height; where nothing was measured the one before goes on."""
    cells: dict[int, list[float]] = {}
    for shown, value in zip(images, values, strict=True):
        cells.setdefault(min(WIDTH - 1, shown * WIDTH // max(1, until)), []).append(value)
    bars, height = [], 0
    for cell in range(max(cells) + 1):
        if cell in cells:
            mean = sum(cells[cell]) / len(cells[cell])
            height = round((mean - low) / (high - low) * (len(BARS) - 1)) if high > low else 0
        bars.append(BARS[height] if cell >= min(cells) else " ")
    return "".join(bars)
