"""Published models by name: where they are, and how they come here."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer import tracking
from trainer.checksums import verify_checksums
from trainer.publish.registry import CHAMPION

_NAME = re.compile(r"^(?:models:/)?(?P<model>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<which>[@/][A-Za-z0-9._-]+)?$")


def model_uri(name: str) -> str:
    """`models:/…` for NAME, NAME@alias, NAME/version, with or without `models:/`; without either, the champion.

    Raises ValueError for anything else.
    """
    found = _NAME.match(name)
    if found is None:
        raise ValueError(f"{name!r} is no model; write NAME, NAME@alias or NAME/version")
    return f"models:/{found['model']}{found['which'] or f'@{CHAMPION}'}"


def pull(name: str, out: Path, uri: str | None = None) -> Path:
    """Download a model to `out`, which must not exist yet, and verify every file. Returns `out`.

    uri: MLflow's address, by default MLFLOW_TRACKING_URI's. Raises ValueError for a name or address that isn't usable,
    an `out` that exists, or a model that is damaged or isn't there.
    """
    source = model_uri(name)
    if out.exists():
        raise ValueError(f"{out} exists; give a folder that doesn't")
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise ValueError("MLFLOW_TRACKING_URI is not set; set it to MLflow's address, e.g. http://127.0.0.1:8701")
    tracking.client(uri)  # short timeouts
    import mlflow
    from mlflow.exceptions import MlflowException

    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        aside.mkdir(parents=True)
        mlflow.set_registry_uri(uri)
        mlflow.artifacts.download_artifacts(source, dst_path=str(aside), tracking_uri=uri)
        verify_checksums(aside)
        aside.rename(out)
    except MlflowException as error:
        raise ValueError(f"{source} can't be pulled from {uri}: {error.message}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return out


@contextmanager
def package_of(name: str) -> Iterator[Path]:
    """The package's folder: `name` itself if it is one, else pulled for as long as the block runs."""
    folder = Path(name)
    if (folder / "config.json").is_file():
        yield folder
        return
    with TemporaryDirectory(prefix="agon-model-") as temporary:
        yield pull(name, Path(temporary) / "model")
