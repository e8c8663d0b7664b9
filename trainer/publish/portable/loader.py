"""The package as an MLflow model ("models from code"): no pickle, and no import but mlflow's and the package's own.

    model = mlflow.pyfunc.load_model("models:/NAME@champion")  # model_config={"device": "cuda"} for a GPU
    images = model.predict({"n": 64, "seed": 0})             # uint8 [64, H, W, C]
    images = model.predict({"n": 10, "c1": 3})               # a model with latent codes
    z = model.predict({"encode": images})                    # a model with an encoder: float32 [n, Z]
    images = model.predict({"z": z})                         # the images of given latents
    images = model.predict(pandas.DataFrame({"seed": range(100)}))  # one image a row: uint8 [100, H, W, C]

`predict` takes these as a dict, as a DataFrame of one row, or as MLflow `params`; see `generator.py` for what they mean. Of a
DataFrame of several rows each is a request for one image (or the latents of one).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

FOLDER = Path(__file__).parent
SAMPLING = ("n", "seed", "labels", "truncation", "start", "codes")
DEFAULTS = {"device": "cpu", "dtype": "float32", "max_images": 1024}
"""`model_config`, where MLflow gives none."""


class RequestError(MlflowException, ValueError):  # type: ignore[misc]
    """What was asked for isn't possible. MLflow's own kind of error: its server then answers 400 with this very message."""

    def __init__(self, message: str) -> None:
        MlflowException.__init__(self, message, error_code=INVALID_PARAMETER_VALUE)


class Sampler:
    """Images from latents, and latents from images."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the generator from this file's folder, as `model_config` says: device, dtype, max_images."""
        settings = {**DEFAULTS, **(getattr(context, "model_config", None) or {})}
        self.most = settings["max_images"]
        if isinstance(self.most, bool) or not isinstance(self.most, int) or self.most < 1:
            raise ValueError(f"model_config: max_images is {self.most!r}; give a whole number from 1 on")
        self.generator = _beside("generator").Generator(FOLDER, settings["device"], settings["dtype"])

    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow would make a schema of hints
        """uint8 [n, H, W, C]; of `encode`, float32 [n, Z]. What `model_input` says goes before `params`.

        Raises RequestError, a ValueError, for what isn't possible, and for more than `max_images` at once.
        """
        with _refusing():
            known = self._known()
            given = _named(params, "params", known)
            if _is_frame(model_input) and len(model_input) > 1:
                return self._rows(model_input.to_dict(orient="records"), given, known)
            return self._one(_named(_only_row(model_input, known), "the input", known), given)

    def _one(self, asked: dict[str, Any], given: dict[str, Any]) -> Any:
        """One request, of any number of images."""
        if "encode" in asked:
            _alone(asked, "encode", ())
            return self.generator.encode(self._few(_bytes(asked["encode"])))
        if "z" in asked:
            _alone(asked, "z", ("labels", "truncation"))
            labels, truncation = (asked.get(name, given.get(name)) for name in ("labels", "truncation"))
            return self.generator.decode(self._few(asked["z"]), labels, truncation)
        wanted = _sampling(asked, given)
        self._bounded(self.generator.count(wanted.get("n"), wanted.get("labels"), wanted["codes"]))
        return self.generator.sample(**wanted)

    def _rows(self, rows: Sequence[Mapping[str, Any]], given: dict[str, Any], known: tuple[str, ...]) -> Any:
        """One image for each row, uint8 [rows, H, W, C]; of `encode`, its latents, float32 [rows, Z]."""
        self._bounded(len(rows))
        asked = [_named(row, f"row {number}", known) for number, row in enumerate(rows)]
        kinds = {"encode" if "encode" in row else "z" if "z" in row else "samples" for row in asked}
        if len(kinds) > 1:
            raise ValueError(f"some rows ask for {' and others for '.join(sorted(kinds))}; give them apart")
        if kinds == {"encode"}:
            return self.generator.encode(np.stack(_each(asked, lambda row: _single(_bytes(row["encode"]), 3))))
        found = _each(asked, lambda row: self._latent(row, given))
        labels = None if found[0][1] is None else np.concatenate([label for _, label, _ in found])
        z = np.concatenate([latent for latent, _, _ in found])
        limits = [limit for _, _, limit in found]
        images = None
        for limit in dict.fromkeys(limits):  # a model may normalise by the truncation, so each one by itself
            at = [number for number, other in enumerate(limits) if other == limit]
            part = self.generator.decode(z[at], None if labels is None else labels[at], limit)
            images = np.empty((len(rows), *part.shape[1:]), part.dtype) if images is None else images
            images[at] = part
        return images

    def _latent(self, asked: dict[str, Any], given: dict[str, Any]) -> tuple[Any, Any, float | None]:
        """z [1, Z], label [1] or None, and truncation of a row."""
        if "z" in asked:
            _alone(asked, "z", ("labels", "truncation"))
            limit = asked.get("truncation", given.get("truncation"))
            label = self._label(asked.get("labels", given.get("labels")), None)
            if asked.get("labels") == "balanced":
                raise ValueError("labels is 'balanced'; give each row of z its class")
            return _single(np.asarray(asked["z"], dtype=object), 1).astype(np.float32)[None], label, limit
        wanted = _sampling(asked, given)
        if wanted.pop("n", 1) != 1 or self.generator.count(1, wanted.get("labels"), wanted["codes"]) != 1:
            raise ValueError(
                f"n is {asked.get('n', given.get('n'))}; of several rows each gives one image: leave n out"
            )
        labels, seed, start = wanted.pop("labels", None), wanted.get("seed", 0), wanted.get("start", 0)
        z = self.generator.latents(1, **wanted)
        return z, self._label(labels, lambda: self.generator.labels(1, seed, start), start), wanted.get("truncation")

    def _label(self, label: Any, drawn: Callable[[], Any] | None, start: int = 0) -> Any:
        """A row's class, int64 [1]; None for a model without classes."""
        classes = self.generator.config["classes"]
        if label is None or not classes:
            if label is not None:
                raise ValueError(f"labels is {label!r}, but this model has no classes; leave labels out")
            if classes and drawn is None:
                raise ValueError("labels is missing; this model is class-conditional: give each row of z its class")
            return drawn() if drawn is not None else None
        self.generator.count(1, label)  # raises for what is no class, and for several
        chosen = self.generator.numbered(label)
        return np.array([int(start) % classes]) if isinstance(chosen, str) else chosen

    def _few(self, given: Any) -> Any:
        """As it is, unless it is longer than a request may be."""
        if isinstance(given, Sequence) or (isinstance(given, np.ndarray) and given.ndim):
            self._bounded(len(given))
        return given

    def _bounded(self, n: int) -> None:
        if n > self.most:
            raise ValueError(
                f"{n} images are asked for at once, and this model gives at most {self.most}; ask several times (start = "
                f'{self.most} goes on where the first {self.most} ended), load it with model_config={{"max_images": {n}}}, or '
                "use generator.py of the downloaded model, whose Generator.batches() gives any number, batch by batch"
            )

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


@contextmanager
def _refusing() -> Iterator[None]:
    """ValueErrors as RequestErrors."""
    try:
        yield
    except ValueError as error:
        raise RequestError(str(error)) from None


def _sampling(asked: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `Generator.sample`; params hold MLflow's defaults, so that they can't be in the way of `encode` and `z`."""
    wanted = {**given, **asked}
    codes = wanted.pop("codes", {})
    if not isinstance(codes, Mapping):
        raise ValueError(f"codes is {codes!r}; give a mapping such as {{'c1': 3}}")
    beside = {name: wanted.pop(name) for name in list(wanted) if name not in SAMPLING}
    if twice := sorted(set(beside) & set(codes)):
        raise ValueError(f"code {twice[0]} is given twice, in codes and beside it; give it once")
    return {**wanted, "codes": {**codes, **beside}}


def _each(rows: Sequence[dict[str, Any]], made: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """`made` of each row; an error says which."""
    found = []
    for number, row in enumerate(rows):
        try:
            found.append(made(row))
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None
    return found


def _single(array: Any, dimensions: int) -> Any:
    """The one image or latent vector of a row, without the axis of length 1 that it may have in front."""
    found = np.array(array.tolist()) if array.dtype == object else array  # DataFrames nest arrays
    found = found[0] if found.ndim == dimensions + 1 and len(found) == 1 else found
    if found.ndim != dimensions:
        raise ValueError(f"has shape {list(found.shape)}; of several rows each gives one")
    return found


def _is_frame(given: Any) -> bool:
    return hasattr(given, "to_dict") and hasattr(given, "columns")


def _only_row(given: Any, known: tuple[str, ...]) -> Any:
    """The row of a DataFrame of one; anything else as it is."""
    if not _is_frame(given):
        return given
    if not len(given):
        raise ValueError(f"the input has no rows; give one or more with columns {', '.join(known)}")
    return given.to_dict(orient="records")[0]


def _named(given: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Values by name from a dict or None; those that are None or empty are left out."""
    if given is None:
        return {}
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
