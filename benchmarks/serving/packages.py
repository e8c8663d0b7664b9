"""Packages of untrained nets, registered: what they cost to ask does not depend on what they have learnt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trainer import tracking
from trainer.engine.distributed import Distributed
from trainer.engine.state import TrainState
from trainer.families.table import recipes
from trainer.publish.package import assemble
from trainer.spec import with_overrides

NETS: dict[str, tuple[str, Sequence[str]]] = {
    "small": ("dcgan-digits", ()),
    "dcgan-64": ("dcgan-64", ()),
    "biggan": ("biggan-imagenet128", ("evaluation.standing_batches=0",)),
}
"""Name → recipe, and what is changed of it."""
ONE = ("resources.workers=1", "resources.gpus_per_worker=0", "train.precision=fp32")
"""A CPU is enough for a net that isn't trained."""
QUICK: dict[str, tuple[str, Sequence[str]]] = {
    "small": NETS["small"],
    "biggan": ("biggan-imagenet128", ("arch.g_width=8", "arch.d_width=8", "evaluation.standing_batches=0")),
}


def make(name: str, recipe: str, changes: Sequence[str], folder: Path, seed: int) -> Path:
    """The package of that recipe's generator, as it is before its first step."""
    spec = with_overrides(recipes()[recipe](), [*changes, *ONE, f"train.seed={seed}"])
    state = TrainState.create(spec, Distributed.create(spec, world=1))
    names = tuple(str(number) for number in range(spec.arch.classes))
    record = {"scores": {}, "provenance": {}, "lineage": {}}
    return assemble(
        state,
        folder / name,
        class_names=names,
        record=record,
        card=_card,
    )


def _card(path: Path) -> None:
    path.write_text("# untrained\n")


def register(name: str, package: Path, uri: str) -> None:
    """As version 1 and champion of a model of that name."""
    client = tracking.client(uri)
    experiment = client.get_experiment_by_name("serving")
    number = experiment.experiment_id if experiment else client.create_experiment("serving")
    run = client.create_run(number)
    client.create_registered_model(name)
    client.log_artifacts(run.info.run_id, str(package), "model")
    version = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias(name, "champion", version.version)
    client.set_terminated(run.info.run_id)


def facts(package: Path) -> dict[str, object]:
    """Of a package, for the report."""
    config = json.loads((package / "config.json").read_text())
    return {
        "resolution": config["resolution"],
        "weights_mb": round((package / "model.safetensors").stat().st_size / 1e6, 1),
    }
