"""The table of docs/reproduction.md from the results' JSON, and nothing else. Imports no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.reproduce.figures import shown

PLAIN = "dcgan-unconditional"
COMPARED = {
    "wgan": (PLAIN,),
    "wgan-gp": ("wgan",),
    "lsgan": (PLAIN, "wgan-gp"),
    "hinge": (PLAIN, "wgan-gp"),
    "r3gan": (PLAIN, "wgan-gp"),
    "biggan-mnist-free": ("biggan-mnist",),
}
"""Whose Fréchet distance a recipe's is held against, at equal images."""
HEAD = "| recipe | measure | paper | ours | reached | images (epochs) | time | commit | beside it; what to know |"


def table(folder: Path) -> str:
    """Markdown: a line for every figure that has a target, or for the first one of a recipe that has none."""
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    results = {name: found[name] for name in sorted(found) if not found[name]["quick"]}
    lines = [HEAD, "|---|---|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        figures = [figure for figure in result["figures"] if figure["target"] is not None] or result["figures"][:1]
        beside = [figure for figure in result["figures"] if figure not in figures]
        for number, figure in enumerate(figures):
            remarks = _note(figure) + (_remarks(name, result, beside, results) if number == 0 else [])
            lines.append("| " + " | ".join((*_cells(name, result, figure), "; ".join(remarks))) + " |")
    return "\n".join(lines)


def _cells(name: str, result: dict[str, Any], figure: dict[str, Any]) -> tuple[str, ...]:
    reached = {None: "–", True: "yes", False: "**no**"}[figure["holds"]]
    seconds = max(run["wall_seconds"] for run in result["runs"])
    seeds = f", {len(result['runs'])} seeds" if len(result["runs"]) > 1 else ""
    return (
        f"`{name}`", figure["name"], figure["paper"] or _target(figure), shown(figure) + seeds, reached, _length(result), _time(seconds),
        _commits(result),
    )  # fmt: skip


def _commits(result: dict[str, Any]) -> str:
    """The commit that trained, and the one that measured where it is another."""
    measured = result["commit"][:7] + ("-dirty" if result["commit"].endswith("-dirty") else "")
    codes = [str(run.get("training_code")) for run in result["runs"]]
    trained = sorted({match[1] for code in codes if (match := re.search(r"\(([0-9a-f]{7})", code))})
    if not trained or trained == [measured[:7]]:
        return f"`{measured}`"
    return ", ".join(f"`{commit}`" for commit in trained) + f", measured by `{measured}`"


def _length(result: dict[str, Any]) -> str:
    """`2.5 M (50 of 250)`: images trained on, and the paper's epochs if the training was cut."""
    millions = f"{result['images'] / 1e6:.3g} M"
    return f"{millions} ({result['cut'].removesuffix(' epochs')})" if result["cut"] else millions


def _remarks(
    name: str, result: dict[str, Any], beside: list[dict[str, Any]], results: dict[str, dict[str, Any]]
) -> list[str]:
    remarks = [", ".join((f"{figure['name']}: {shown(figure)}{_papers(figure)}", *_note(figure))) for figure in beside]
    remarks += [
        text for other in COMPARED.get(name, ()) if (text := at_equal_images(result, results.get(other), other))
    ]
    remarks += [f"**cut**: {result['cut']}"] if result["cut"] else []
    short = any(figure["holds"] is False for figure in result["figures"])
    remarks += [f"**short because** {result['reason'] or 'not yet known'}"] if short else []
    return remarks + ([result["note"]] if result["note"] else [])


def at_equal_images(ours: dict[str, Any], theirs: dict[str, Any] | None, other: str) -> str:
    """`Fréchet distance at 1 M images 5.1, wgan 9.3`; empty unless both were scored by one extractor on the same images."""
    if theirs is None:
        return ""
    a, b = ours["runs"][0], theirs["runs"][0]
    same = all(a[key] == b[key] for key in ("extractor_digest", "dataset_digest"))
    if not same or not a["fid"] or not b["fid"]:
        return ""
    images = min(a["fid"][-1][0], b["fid"][-1][0])
    return f"Fréchet distance at {images / 1e6:.3g} M images {_at(a['fid'], images):.3g}, {other} {_at(b['fid'], images):.3g}"


def _at(curve: list[list[float]], images: int) -> float:
    """The score at that many images: linear between two evaluations, the nearest one beyond the ends."""
    before = [point for point in curve if point[0] <= images]
    after = [point for point in curve if point[0] >= images]
    if not before or not after:
        return float((after[:1] or before[-1:])[0][1])
    (x0, y0), (x1, y1) = before[-1], after[0]
    return float(y0) if x0 == x1 else float(y0 + (y1 - y0) * (images - x0) / (x1 - x0))


def _target(figure: dict[str, Any]) -> str:
    """What has to be reached where the paper gives no figure."""
    return "–" if figure["target"] is None else f"(target {asked(figure)})"


def asked(figure: dict[str, Any]) -> str:
    """`≥ 97 %`: the target of a figure that has one."""
    return f"{'≥' if figure['better'] == 'higher' else '≤'} {figure['target']:g} {figure['unit']}"


def _note(figure: dict[str, Any]) -> list[str]:
    """What has to be known about this figure alone; results of earlier versions have no such field."""
    return [figure["note"]] if figure.get("note") else []


def _papers(figure: dict[str, Any]) -> str:
    return f" (paper: {figure['paper']})" if figure["paper"] else ""


def _time(seconds: int) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}:{minutes:02} h" if hours else f"{minutes} min"
