"""A package's folder as an MLflow model: its signature, requirements and settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import yaml

from trainer.spec import JobSpec

REQUIREMENTS = ("torch", "numpy", "safetensors", "mlflow")
MOST_IMAGES, MOST_PIXELS = 1024, 2**26
"""What one request to MLflow's face of a package gives at most, images and pixel values; `model_config` can say more."""


def save_as_mlflow_model(folder: Path, spec: JobSpec, loader: Path) -> None:
    """Let MLflow write its files: MLmodel with loader.py as code, a signature and settings, and the requirements."""
    with _quiet_mlflow():
        import mlflow.pyfunc
        from mlflow.models import Model, ModelSignature
        from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

        size, channels = spec.arch.resolution, spec.arch.channels
        parameters = ParamSchema(
            [
                ParamSpec("n", DataType.long, None),
                ParamSpec("seed", DataType.long, 0),
                ParamSpec("labels", DataType.long, [], shape=(-1,)),
                ParamSpec("truncation", DataType.double, None),
                ParamSpec("start", DataType.long, 0),
                *(ParamSpec(code.name, DataType.double, None) for code in spec.arch.latent.codes),
            ]
        )
        images = Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size, channels))])
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(loader),
            # No input schema: it would turn the dict into a DataFrame and let misspelt keys through with a warning.
            signature=ModelSignature(outputs=images, params=parameters),
            input_example={"n": 4, "seed": 0},
            pip_requirements=[compatible(name, version(name)) for name in REQUIREMENTS],
            # What `mlflow.pyfunc.load_model(…, model_config=…)` may change: keys that aren't here, MLflow ignores.
            model_config={"device": "cpu", "dtype": "float32", "max_images": most_images(size, channels)},
        )
        # Not `Model.load`: it decodes a path as if it were a URI (`100%20` → `100 `), and takes no `file:` URI either.
        model = Model.from_dict(yaml.safe_load((folder / "MLmodel").read_text()))
        model.flavors["python_function"]["model_code_path"] = loader.name  # else a path of the machine that trained
        model.save(str(folder / "MLmodel"))


def compatible(name: str, made_with: str) -> str:
    """The requirement that this version and all later ones of its major version meet: `torch>=2.13.0,<3`.

    An exact one would have MLflow warn at each load in an environment that is a release ahead.
    """
    release = made_with.partition("+")[0]
    return f"{name}>={release},<{int(release.partition('.')[0]) + 1}"


def most_images(resolution: int, channels: int) -> int:
    """How many images one request gives unless `model_config` says otherwise: fewer where they are large."""
    return max(1, min(MOST_IMAGES, MOST_PIXELS // (resolution * resolution * channels)))


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """MLflow would copy a uv project's files from the working folder into the model, and talk about each of its steps."""
    before = os.environ.get("MLFLOW_UV_AUTO_DETECT")
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    log = logging.getLogger("mlflow.pyfunc")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
        if before is None:
            del os.environ["MLFLOW_UV_AUTO_DETECT"]
        else:
            os.environ["MLFLOW_UV_AUTO_DETECT"] = before
