"""The package as an MLflow model ("models from code"): no pickle, and no import but mlflow's and the package's own.

    model = mlflow.pyfunc.load_model("models:/NAME@champion")
    images = model.predict({"n": 64, "seed": 0})             # uint8 [64, H, W, C]
    images = model.predict({"n": 10, "c1": 3})               # a model with latent codes
    z = model.predict({"encode": images})                    # a model with an encoder: float32 [n, Z]
    images = model.predict({"z": z})                         # the images of given latents

`predict` takes these as a dict, as a DataFrame of one row, or as MLflow `params`; see `generator.py` for what they mean.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

FOLDER = Path(__file__).parent
SAMPLING = ("n", "seed", "labels", "truncation", "start", "codes")


class Sampler:
    """Images from latents, and latents from images."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the generator from this file's folder."""
        self.generator = _beside("generator").Generator(FOLDER)

    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow would make a schema of hints
        """uint8 [n, H, W, C]; of `encode`, float32 [n, Z]. What `model_input` says goes before `params`.

        Raises ValueError for what isn't possible.
        """
        known = self._known()
        asked, given = _named(model_input, "the input", known), _named(params, "params", known)
        if "encode" in asked:
            _alone(asked, "encode", ())
            return self.generator.encode(_bytes(asked["encode"]))
        if "z" in asked:
            _alone(asked, "z", ("labels", "truncation"))
            labels, truncation = (asked.get(name, given.get(name)) for name in ("labels", "truncation"))
            return self.generator.decode(asked["z"], labels, truncation)
        given.update(asked)  # params hold MLflow's defaults, so that they can't be in the way of `encode` and `z`
        codes = given.pop("codes", {})
        if not isinstance(codes, Mapping):
            raise ValueError(f"codes is {codes!r}; give a mapping such as {{'c1': 3}}")
        beside = {name: given.pop(name) for name in list(given) if name not in SAMPLING}
        if twice := sorted(set(beside) & set(codes)):
            raise ValueError(f"code {twice[0]} is given twice, in codes and beside it; give it once")
        return self.generator.sample(codes={**codes, **beside}, **given)

    def _known(self) -> tuple[str, ...]:
        """Every key that this model takes."""
        config = self.generator.config
        sampling = SAMPLING if config["codes"] else SAMPLING[:-1]
        codes = tuple(code["name"] for code in config["codes"])
        return (*sampling, *codes, "z", *(("encode",) if config["encoder"] else ()))


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


def _named(given: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Values by name from a dict, None or a DataFrame of one row; those that are None or empty are left out."""
    if given is None:
        return {}
    if hasattr(given, "to_dict") and hasattr(given, "columns"):
        rows = given.to_dict(orient="records")
        if len(rows) != 1:
            raise ValueError(f"{where} has {len(rows)} rows; give one row with columns {', '.join(known)}")
        given = rows[0]
    if not isinstance(given, dict):
        raise ValueError(f"{where} is a {type(given).__name__}; give a dict with keys {', '.join(known)}")
    if unknown := [name for name in given if name not in known]:
        raise ValueError(_unknown(unknown, where, known))
    plain = {name: _plain(name, value) for name, value in given.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _unknown(names: list[Any], where: str, known: tuple[str, ...]) -> str:
    """What is wrong with keys that the model doesn't take."""
    why = "this model has no encoder; " if "encode" in names else ""
    why += "this model has no codes; " if "codes" in names else ""
    return f"{where} has unknown {', '.join(sorted(map(str, names)))}; {why}known are {', '.join(known)}"


def _alone(given: dict[str, Any], name: str, beside: tuple[str, ...]) -> None:
    """Raise ValueError if something is given that `name` leaves no room for."""
    if extra := [other for other in given if other not in (name, *beside)]:
        raise ValueError(f"{', '.join(extra)} can't be given together with {name}; leave one of them out")


def _plain(name: str, value: Any) -> Any:
    """Without what arrays and DataFrames add: numpy scalars, arrays of one element, NaN for nothing, empty lists."""
    if name in ("encode", "z"):
        return None if _nothing(value) else value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if name != "labels" and isinstance(value, list) and len(value) == 1:
        value = value[0]
    return None if _nothing(value) or value == [] else value


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _bytes(images: Any) -> Any:
    """Images as uint8 if they are whole numbers from 0 to 255, as JSON brings them; otherwise as they are."""
    try:
        array = np.asarray(images)
    except ValueError:
        raise ValueError(
            f"encode is a {type(images).__name__} of images that differ in size; make them equal"
        ) from None
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    return array


set_model(SampleModel())
