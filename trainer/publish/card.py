"""The model card: what a model is, how good it is and by which measure, where it comes from, how to use it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainer.data.manifest import DatasetManifest
from trainer.families.arch import Arch
from trainer.publish.gate import LOWER_IS_BETTER
from trainer.spec import JobSpec, dump_spec

PICTURE = "![samples](samples.png)"
"""In the card; the picture lies beside it."""


def described(card: str, package: str, most: int = 5000) -> str:
    """The card as the description of a version, of at most so many characters. There, no picture lies beside it.

    package: the artifact folder that holds one.
    """
    return card.replace(PICTURE, f"The picture is the artifact `{package}/samples.png`.")[:most]


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from."""

    job_id: str
    step: int
    images: int
    dataset_digest: str
    spec_digest: str
    code: str
    trial: str | None = None
    """`search/trial` where the model is the best of a search."""
    fork: str | None = None
    """What the training began with, where it was another one's checkpoint."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON, without what isn't so."""
        return {name: value for name, value in asdict(self).items() if value is not None}


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
    *,
    encoder: bool = False,
) -> None:
    """Write `card.md`; `samples.png` lies beside it. encoder: whether the package holds one."""
    sections = [
        _title(spec, manifest, encoder),
        f"## Samples\n\n{PICTURE}\n\n{_rows(spec.arch)}",
        *_classes(manifest, spec.arch),
        _scores(scores, provenance),
        *_truncation(provenance),
        _lineage(manifest, lineage),
        _use(spec, encoder),
        f"## Spec\n\n```yaml\n{dump_spec(spec).strip()}\n```",
    ]
    path.write_text("\n\n".join(sections) + "\n")


def _title(spec: JobSpec, manifest: DatasetManifest, encoder: bool) -> str:
    arch = spec.arch
    kind = f"A class-conditional ({arch.classes} classes)" if arch.conditional else "An unconditional"
    has = [f"latent codes {', '.join(code.name for code in arch.latent.codes)}"] if arch.latent.codes else []
    has += ["an encoder"] if encoder else []
    model = spec.publish.model if spec.publish else spec.name
    return (
        f"# {model}\n\n{kind} generator of family `{arch.family}`{' with ' if has else ''}{' and '.join(has)}: "
        f"{arch.resolution} × {arch.resolution} pixels, "
        f"{'RGB' if arch.channels == 3 else 'grey'}, trained on {manifest.samples:,} images of {manifest.name}."
    )


def _rows(arch: Arch) -> str:
    """What the rows of `samples.png` are."""
    if 0 < arch.classes <= 64:
        return "Seed 0, one class per row."
    coded = [code.name for code in arch.latent.codes if code.kind == "categorical" and code.size <= 64]
    return f"Seed 0, one value of code {coded[0]} per row." if coded else "Seed 0."


def _classes(manifest: DatasetManifest, arch: Arch) -> list[str]:
    """The classes by number, where names say more; [] otherwise."""
    names = manifest.classes if arch.conditional else ()
    if not names or list(names) == [str(number) for number in range(len(names))]:
        return []
    return ["\n".join(["## Classes", "", ", ".join(f"{number} {name}" for number, name in enumerate(names))])]


def _scores(scores: Mapping[str, float], provenance: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {value:.6g} | {'lower' if name in LOWER_IS_BETTER else 'higher'} |"
        for name, value in scores.items()
    ]
    shown = {
        name: value for name, value in provenance.items() if name not in ("truncation_curve", "truncation_verdict")
    }
    basis = [f"| {name} | {'none' if value is None else f'`{value}`'} |" for name, value in shown.items()]
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


def _truncation(provenance: Mapping[str, Any]) -> list[str]:
    """The truncation curve and its verdict, as the evaluation gives them; [] without."""
    points = provenance.get("truncation_curve")
    if not points:
        return []
    names = list(points[0])
    rows = [
        "| " + " | ".join("none" if point[name] is None else f"{point[name]:.4g}" for name in names) + " |"
        for point in points
    ]
    head = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    text = (
        f"{provenance['truncation_verdict']} The paper's truncation (Brock et al. 2018, section 3.1): coordinates of z outside "
        "±τ are drawn again. Precision is the share of samples near real images, recall of real near samples, saturated "
        "that of pixel values at most 1 or at least 254. Compare within this table alone."
    )
    return ["\n".join(["## Truncation", "", text, "", *head, *rows])]


def _lineage(manifest: DatasetManifest, lineage: Lineage) -> str:
    rows = {
        "job": lineage.job_id,
        "trained": f"{lineage.step:,} steps, {lineage.images:,} images shown",
        "dataset": f"{manifest.name}, digest {lineage.dataset_digest}",
        "spec digest": lineage.spec_digest,
        "Agon": lineage.code,
        **({"search": lineage.trial} if lineage.trial else {}),
        **({"began with": lineage.fork} if lineage.fork else {}),
    }
    return "\n".join(
        ["## Lineage", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def _use(spec: JobSpec, encoder: bool = False) -> str:
    model = spec.publish.model if spec.publish else None
    source = f'"models:/{model}@champion"' if model else '"path/to/this/folder"'
    server = (
        'mlflow.set_tracking_uri("http://127.0.0.1:8701")   # your MLflow server; MLFLOW_TRACKING_URI does the same\n'
        if model
        else ""
    )
    label = ', "labels": "balanced"' if spec.arch.conditional else ""
    shape = f"{spec.arch.resolution}, {spec.arch.resolution}, {spec.arch.channels}"
    first = spec.arch.latent.codes[0].name if spec.arch.latent.codes else None
    more = f'images = model.predict({{"n": 10, "{first}": 0}})   # one value of a code, see below\n' if first else ""
    if encoder:
        more += f'z = model.predict({{"encode": images}})   # float32 [64, {spec.arch.latent.width}]\n'
        more += 'images = model.predict({"z": z})   # G(E(x)): the images that these latents stand for\n'
    return (
        f"""## Use

With MLflow, in any environment that has the packages of `requirements.txt` (no pickle is loaded):

```python
import mlflow
{server}model = mlflow.pyfunc.load_model({source})
images = model.predict({{"n": 64, "seed": 0{label}}})   # uint8 [64, {shape}]
{more}```

Without MLflow, in this folder: `from generator import Generator; Generator(".").sample(n=64, seed=0)`."""
        + _codes(spec.arch, model or "FOLDER")
        + (_encoder(model or "FOLDER") if encoder else "")
    )


def _codes(arch: Arch, model: str) -> str:
    """The latent codes; empty for a model without."""
    if not arch.latent.codes:
        return ""
    rows = [
        f"| `{code.name}` | {code.kind} | {f'0 … {code.size - 1}' if code.kind == 'categorical' else '-1 … 1'} |"
        for code in arch.latent.codes
    ]
    first = arch.latent.codes[0].name
    table = "\n".join(["| code | kind | values in training |", "|---|---|---|", *rows])
    return f"""

## Latent codes

Parts of z with a meaning that training found by itself (Chen et al. 2016). Give one value for all images, or one for each;
what isn't given is drawn. A continuous code may leave its range somewhat.

{table}

`agon sample {model} --traverse {first} --out picture.png` shows what {first} does."""


def _encoder(model: str) -> str:
    return f"""

## Encoder

`encoder.pt2` maps an image to its latents; images must have this model's size. `agon sample {model} --encode FOLDER --out
picture.png` shows images above their reconstructions, and fits images of another size."""
