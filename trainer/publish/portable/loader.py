"""The package as an MLflow model ("models from code"): no pickle, and no import but mlflow's and the package's own.

    model = mlflow.pyfunc.load_model("models:/NAME@champion")
    images = model.predict({"n": 64, "seed": 0})             # uint8 [64, H, W, C]

`predict` takes n, seed, labels and truncation as a dict, as a DataFrame of one row, or as MLflow `params`; see
`generator.py` for what they mean.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

FOLDER = Path(__file__).parent
PARAMETERS = ("n", "seed", "labels", "truncation")


class Sampler:
    """Images from latents."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the generator from this file's folder."""
        self.generator = _beside("generator").Generator(FOLDER)

    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow would make a schema of hints
        """uint8 [n, H, W, C]. What `model_input` says goes before `params`. Raises ValueError for what isn't possible."""
        return self.generator.sample(**{**_named(params, "params"), **_named(model_input, "the input")})


class SampleModel(Sampler, PythonModel):  # type: ignore[misc]
    """MLflow's face of the sampler. MLflow inspects the methods of this very class, and would warn of missing hints."""


def _beside(name: str) -> ModuleType:
    """The module in the file beside this one; by its path, so that no other module of that name is meant."""
    spec = importlib.util.spec_from_file_location(f"agon_model_{name}", FOLDER / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{FOLDER / name}.py is missing; download the model again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _named(given: Any, where: str) -> dict[str, Any]:
    """Parameters by name from a dict, None or a DataFrame of one row; those that are None or empty are left out."""
    if given is None:
        return {}
    if hasattr(given, "to_dict") and hasattr(given, "columns"):
        rows = given.to_dict(orient="records")
        if len(rows) != 1:
            raise ValueError(f"{where} has {len(rows)} rows; give one row with columns {', '.join(PARAMETERS)}")
        given = rows[0]
    if not isinstance(given, dict):
        raise ValueError(f"{where} is a {type(given).__name__}; give a dict with keys {', '.join(PARAMETERS)}")
    if unknown := sorted(set(given) - set(PARAMETERS)):
        raise ValueError(f"{where} has unknown {', '.join(map(str, unknown))}; known are {', '.join(PARAMETERS)}")
    plain = {name: _plain(name, value) for name, value in given.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _plain(name: str, value: Any) -> Any:
    """Without what arrays and DataFrames add: numpy scalars, arrays of one element, NaN for nothing, empty labels."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if name != "labels" and isinstance(value, list) and len(value) == 1:
        value = value[0]
    missing = value is None or (isinstance(value, float) and np.isnan(value)) or (isinstance(value, list) and not value)
    return None if missing else value


set_model(SampleModel())
