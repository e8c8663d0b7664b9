"""What a path in a request means: the API, the nodes and whoever asks work in other folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit


def absolute(url: str, roots: Sequence[str]) -> str:
    """A relative path made absolute: below the first data root that holds it, else the first. URLs stay as they are."""
    try:
        if urlsplit(url).scheme or not url or "\0" in url or Path(url).is_absolute() or not roots:
            return url
    except ValueError:  # no URL at all, which reading it says better
        return url
    candidates = [Path(root) / url for root in roots]
    return str(next((path for path in candidates if _is_there(path)), candidates[0]))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that we may not look into
        return False
