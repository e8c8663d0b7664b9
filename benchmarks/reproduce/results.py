"""The JSON of one recipe: what was measured, on which trainings, with which code, and what has to be known about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.common import RESULTS, commit, machine, versions
from benchmarks.reproduce.curves import thinned
from benchmarks.reproduce.figures import Figure, over_seeds, shown
from benchmarks.reproduce.protocols.quality import critic_and_quality
from benchmarks.reproduce.protocols.table import Protocol
from benchmarks.reproduce.trained import Trained
from trainer.families.table import recipes

FOLDER = RESULTS / "reproduce"


@dataclass(frozen=True)
class Run:
    """One training and its figures."""

    trained: Trained
    job: str
    figures: tuple[Figure, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything about it; no path of this machine."""
        trained, spec = self.trained, self.trained.spec
        raw = spec.model_dump(mode="json")
        raw["data"]["url"] = Path(spec.data.url).name
        provenance = trained.scores[-1]["data"].get("provenance", {}) if trained.scores else {}
        return {
            "seed": spec.train.seed,
            "job": self.job,
            "images": trained.images,
            "wall_seconds": round(trained.wall_seconds),
            "starts": trained.starts,
            "training_code": trained.lineage.get("code"),
            "spec_digest": trained.lineage.get("spec_digest"),
            "dataset_digest": trained.lineage.get("dataset_digest"),
            "extractor_digest": provenance.get("extractor_digest"),
            "figures": [figure.as_json() for figure in self.figures],
            "fid": trained.score("fid"),
            "information": thinned(trained.metric("Q/information")),
            "critic": critic_and_quality(trained) if spec.objective.loss == "wasserstein" else [],
            "spec": raw,
        }


def path_of(name: str, quick: bool, folder: Path = FOLDER) -> Path:
    """Where the result of a recipe lies; quick ones lie apart and are quoted nowhere."""
    return folder / f"{name}{'-quick' if quick else ''}.json"


def record(name: str, protocol: Protocol, runs: Sequence[Run], *, quick: bool, reason: str | None) -> dict[str, Any]:
    """The result of all runs of a recipe."""
    images = min(run.trained.images for run in runs)
    return {
        "benchmark": "reproduce",
        "recipe": name,
        "paper": protocol.paper,
        "quick": quick,
        "commit": commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "images": images,
        "paper_images": protocol.images,
        "cut": cut(images, protocol, recipes()[protocol.trains(name)]().train.images),
        "note": protocol.note,
        "reason": reason,
        "figures": [figure.as_json() for figure in over_seeds([run.figures for run in runs])],
        "runs": [run.as_json() for run in runs],
    }


def cut(images: int, protocol: Protocol, recipe_images: int) -> str | None:
    """How much shorter than the paper's the training was, or than the recipe's where the paper names no length."""
    if images >= (protocol.images or recipe_images):
        return None
    if protocol.images is None:
        return f"{images / 1e6:.3g} of the recipe's {recipe_images / 1e6:.3g} M images"
    return f"{protocol.epochs * images / protocol.images:.3g} of {protocol.epochs} epochs"


def earlier_reason(path: Path) -> str | None:
    """The reason that the result there gives, so that measuring again keeps it."""
    return json.loads(path.read_text()).get("reason") if path.exists() else None


def write(path: Path, result: dict[str, Any]) -> None:
    """Replace the JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def show(result: dict[str, Any], console: Console) -> None:
    """The figures as a table."""
    table = Table(title=f"{result['recipe']} ({result['paper']})")
    for column in ("figure", "paper", "ours", "target", "holds"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for figure in result["figures"]:
        holds = {None: "", True: "yes", False: "NO"}[figure["holds"]]
        sign = "≥" if figure["better"] == "higher" else "≤"
        target = "" if figure["target"] is None else f"{sign} {figure['target']:g}"
        table.add_row(figure["name"], figure["paper"], shown(figure), target, holds)
    console.print(table)
    for figure in result["figures"]:
        if figure["note"]:
            console.print(f"note: {figure['name']}: {figure['note']}", markup=False, highlight=False)
    for text in filter(None, (result["cut"] and f"cut: {result['cut']}", result["note"], result["reason"])):
        console.print(f"note: {text}", markup=False, highlight=False)
