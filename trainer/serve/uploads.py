"""Images that came with a question: anything at all may be in them, and it costs no more than an image of the allowed size.

Shape legend: n images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.data.codec import BadImageError
from trainer.data.prepare import dimensions
from trainer.publish.files import fitted
from trainer.serve.refusals import WrongError
from trainer.spec.errors import FieldError

MOST_PIXELS = 1 << 24
"""Of an uploaded image, by its header: 16 million, 4096 × 4096."""


def read(files: Sequence[bytes], resolution: int, channels: int) -> NDArray[np.uint8]:
    """Image files as the model sees images, uint8 [n, H, W, C]: cropped and resized as the packer does it.

    Raises RefusedError, which names each file that is no image, `images.3`.
    """
    found, errors = [], []
    for number, content in enumerate(files):
        try:
            found.append(_one(content, resolution, channels))
        except BadImageError as error:
            errors.append(FieldError(path=f"images.{number}", message=str(error)[:300]))
    if errors:
        raise WrongError(errors)
    return np.stack(found)


def _one(content: bytes, resolution: int, channels: int) -> NDArray[np.uint8]:
    width, height = dimensions(content)
    if width * height > MOST_PIXELS:
        raise BadImageError(f"has {width} × {height} pixels; {MOST_PIXELS:,} are allowed: make it smaller")
    return fitted(content, resolution, channels)[0]
