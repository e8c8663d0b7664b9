"""scikit-learn's digits as a packed dataset in the cache: the data that is always there."""

from __future__ import annotations

from pathlib import Path

from trainer.data.manifest import MANIFEST
from trainer.data.pack import Options, pack
from trainer.data.shards import locked


def ensure_digits(cache_dir: Path, resolution: int) -> Path:
    """Folder of `builtin:digits` at this resolution, packed now unless it is there. Processes may call it at once."""
    folder = cache_dir / "builtin" / f"digits-{resolution}"
    if (folder / MANIFEST).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        if not (folder / MANIFEST).exists():
            pack("builtin:digits", folder, Options(resolution=resolution, channels=1, workers=1))
    return folder
