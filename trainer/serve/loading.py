"""Models from MLflow's registry to memory. Nothing of a package is run or unpickled: only its programs and weights are read."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import httpx

from trainer.checksums import NoPackageError
from trainer.publish.portable.generator import Generator
from trainer.publish.pull import pull
from trainer.serve.refusals import RefusedError
from trainer.serve.wire import ModelId, Reason, ServeArguments
from trainer.serve.work import Model, measured
from trainer.spec import JobSpec, SpecError, load_spec

AWAY_SECONDS = 5.0
"""After which asking again makes sense, where the registry is away."""
_log = logging.getLogger(__name__)


def load(id: ModelId, args: ServeArguments, device: Executor, room: Callable[[int], None]) -> Model:
    """The model, on the replica's device. device: where nets run, one thing at a time. room: told, before the weights are read,
    how many bytes they are.

    Takes seconds, and is no coroutine. Raises RefusedError.
    """
    with tempfile.TemporaryDirectory(prefix="agon-serve-") as folder:
        package = _pulled(id, args, Path(folder) / "model")
        size = weights(package)
        room(size)
        try:
            generator = Generator(package, device="cuda" if args.gpus else "cpu", dtype=args.dtype)
            # Counting FLOPs puts hooks on all modules of the process: not while another net runs.
            return device.submit(measured, id, generator, size, _spec(package), _digest(package)).result()
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            _log.exception("%s/%s can't be loaded", id.name, id.version)
            raise RefusedError(Reason.BROKEN, f"{id.name}/{id.version} can't be loaded: {_first(error)}") from error


def weights(package: Path) -> int:
    """Bytes of the weights that a loaded package holds."""
    loaded = (package / f"{name}.safetensors" for name in ("model", "encoder", "standing"))
    return sum(path.stat().st_size for path in loaded if path.is_file())


def _pulled(id: ModelId, args: ServeArguments, out: Path) -> Path:
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    what = f"{id.name}/{id.version}"
    try:
        return pull(what, out, args.mlflow_uri)
    except NoPackageError as error:
        raise RefusedError(Reason.MISSING, f"{what} is no model of ours: it has no list of its files") from error
    except (ValueError, OSError, RequestException, httpx.HTTPError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, MlflowException) else error
        if isinstance(cause, MlflowException):
            if cause.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise RefusedError(Reason.MISSING, f"{what} is not in the registry") from error
        elif isinstance(cause, ValueError) and not isinstance(cause, RequestException):
            _log.exception("%s can't be pulled", what)
            message = f"{what} is damaged: a file is missing or altered; publish the model again"
            raise RefusedError(Reason.BROKEN, message) from error
        _log.warning("%s can't be pulled: %s", what, error)
        message = f"the registry does not give {what} now; ask again"
        raise RefusedError(Reason.AWAY, message, after=AWAY_SECONDS) from error


def _spec(package: Path) -> JobSpec | None:
    try:
        return load_spec(package / "spec.yaml")
    except (SpecError, OSError, ValueError):
        return None  # of another version of ours; only its data are not known then


def _digest(package: Path) -> str | None:
    try:
        record: dict[str, Any] = json.loads((package / "scores.json").read_text())
        found = record.get("lineage", {}).get("dataset_digest")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
