"""The model card: what a model is, how good it is and by which measure, where it comes from, how to use it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainer.data.manifest import DatasetManifest
from trainer.publish.gate import LOWER_IS_BETTER
from trainer.spec import JobSpec, dump_spec


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from."""

    job_id: str
    step: int
    images: int
    dataset_digest: str
    spec_digest: str
    code: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def code_version() -> str:
    """Agon's version, and the commit where the code runs from a git checkout, e.g. `0.1.0 (3f2a91c)`."""
    try:
        release = version("agon")
    except PackageNotFoundError:
        release = "unknown"
    # Installed code may lie inside a repository of somebody else's; only where git knows this file is HEAD our commit.
    commit = _git("ls-files", "--error-unmatch", Path(__file__).name) and _git("rev-parse", "--short", "HEAD")
    return f"{release} ({commit})" if commit else release


def _git(*arguments: str) -> str:
    """Output of git in this file's folder; empty if it fails or there is no git."""
    try:
        found = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def write_card(
    path: Path,
    spec: JobSpec,
    manifest: DatasetManifest,
    scores: Mapping[str, float],
    provenance: Mapping[str, Any],
    lineage: Lineage,
) -> None:
    """Write `card.md`; `samples.png` lies beside it."""
    sections = [
        _title(spec, manifest),
        "## Samples\n\n![samples](samples.png)\n\nSeed 0"
        + (", one class per row." if 0 < spec.arch.classes <= 64 else "."),
        _scores(scores, provenance),
        _lineage(manifest, lineage),
        _use(spec),
        f"## Spec\n\n```yaml\n{dump_spec(spec).strip()}\n```",
    ]
    path.write_text("\n\n".join(sections) + "\n")


def _title(spec: JobSpec, manifest: DatasetManifest) -> str:
    arch = spec.arch
    kind = f"class-conditional ({arch.classes} classes)" if arch.conditional else "unconditional"
    model = spec.publish.model if spec.publish else spec.name
    return (
        f"# {model}\n\nA {kind} generator of family `{arch.family}`: {arch.resolution} × {arch.resolution} pixels, "
        f"{'RGB' if arch.channels == 3 else 'grey'}, trained on {manifest.samples:,} images of {manifest.name}."
    )


def _scores(scores: Mapping[str, float], provenance: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {value:.6g} | {'lower' if name in LOWER_IS_BETTER else 'higher'} |"
        for name, value in scores.items()
    ]
    basis = [f"| {name} | {'none' if value is None else f'`{value}`'} |" for name, value in provenance.items()]
    return "\n".join(
        [
            "## Scores",
            "",
            *(["| metric | value | better is |", "|---|---|---|", *rows] if rows else ["Not evaluated."]),
            "",
            "Scores compare only with scores of the same provenance; they are not FIDs of Inception features unless the "
            "extractor says so.",
            "",
            "| provenance | |",
            "|---|---|",
            *basis,
        ]
    )


def _lineage(manifest: DatasetManifest, lineage: Lineage) -> str:
    rows = {
        "job": lineage.job_id,
        "trained": f"{lineage.step:,} steps, {lineage.images:,} images shown",
        "dataset": f"{manifest.name}, digest {lineage.dataset_digest}",
        "spec digest": lineage.spec_digest,
        "Agon": lineage.code,
    }
    return "\n".join(
        ["## Lineage", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def _use(spec: JobSpec) -> str:
    model = spec.publish.model if spec.publish else None
    source = f'"models:/{model}@champion"' if model else '"path/to/this/folder"'
    server = (
        'mlflow.set_tracking_uri("http://127.0.0.1:8701")   # your MLflow server; MLFLOW_TRACKING_URI does the same\n'
        if model
        else ""
    )
    label = ', "labels": "balanced"' if spec.arch.conditional else ""
    return f"""## Use

With MLflow, in any environment that has the packages of `requirements.txt` (no pickle is loaded):

```python
import mlflow
{server}model = mlflow.pyfunc.load_model({source})
images = model.predict({{"n": 64, "seed": 0{label}}})   # uint8 [64, {spec.arch.resolution}, {spec.arch.resolution}, {spec.arch.channels}]
```

Without MLflow, in this folder: `from generator import Generator; Generator(".").sample(n=64, seed=0)`."""
