"""The picture of a dataset: some images of each class, a class a row, read from the heads of some shards and kept by its digest."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trainer.access import Access
from trainer.data.fetch import Patience
from trainer.data.locate import locate
from trainer.data.manifest import manifest_at
from trainer.data.peek import peek
from trainer.errors import BadDataError

ROWS = 200
"""Classes that have their images."""
EACH = 5
"""Images of a class."""
ALL = 32
"""Images of a dataset without classes."""
ACROSS = 8
"""Of these, in a row."""
SIDE = 64
"""Pixels of an image at most: of a page that shows 40, on a fine screen."""
KEPT = 16
"""Pictures that are kept; one is some hundred kB."""


class Sheet(NamedTuple):
    """Where the images lie in the picture, in images; what is not met is transparent there."""

    across: int
    down: int
    side: int
    """Pixels of each."""


def sheet(facts: Mapping[str, Any]) -> Sheet:
    """Of a dataset with these facts (`service.datasets.replies.facts`)."""
    side = min(SIDE, int(facts["resolution"]))
    classes = len(facts["classes"])
    return Sheet(EACH, min(ROWS, classes), side) if classes else Sheet(ACROSS, ALL // ACROSS, side)


class Pictures:
    """Those that were drawn last. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock, self._drawing = threading.Lock(), threading.Lock()

    def draw(self, url: str, facts: Mapping[str, Any], access: Access, patience: Patience) -> bytes:
        """As WebP. Raises BadDataError, DataAwayError."""
        key = (url, str(facts["digest"]))
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return known
        with self._drawing:  # one at a time: each holds a head and an image
            with self._lock:
                if (known := self._kept.get(key)) is not None:  # drawn meanwhile
                    return known
            drawn = _draw(url, facts, access, patience)
        with self._lock:
            self._kept[key] = drawn
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return drawn


def _draw(url: str, facts: Mapping[str, Any], access: Access, patience: Patience) -> bytes:
    location = locate(url, access)
    manifest = manifest_at(location, patience)
    if manifest.digest != facts["digest"]:
        raise BadDataError(f"{url}: other data than were registered lie there; register them anew")
    place = sheet(facts)
    each = EACH if manifest.classes else ALL
    picture = Image.new("RGBA", (place.across * place.side, place.down * place.side))
    for row, images in enumerate(peek(location, manifest, each, ROWS, patience, partial(_small, place.side))):
        for index, image in enumerate(images):
            down, across = divmod(index, place.across)
            picture.paste(image, (across * place.side, (row + down) * place.side))
    found = io.BytesIO()
    picture.save(found, format="WEBP", lossless=place.side < SIDE, quality=80, method=2)
    return found.getvalue()


def _small(side: int, image: np.ndarray[Any, np.dtype[np.uint8]]) -> Image.Image:
    """Small ones as they are: the browser enlarges them pixel by pixel."""
    found = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    return found if found.height == side else found.resize((side, side), Image.Resampling.LANCZOS)
