"""Reading generated images with the dataset's own classifier, which is the default feature extractor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.evaluate.classifier import ClassifierExtractor, prepare
from trainer.report.errors import LeftOut
from trainer.report.subject import Images, Subject

CHUNK = 256
Reader = Callable[[Images], tuple[NDArray[np.int64], NDArray[np.float64]]]


def reader(subject: Subject) -> tuple[Reader, int]:
    """A function from images uint8 [n, H, W, C] to (classes [n], how sure it is [n] in (0, 1]), and how many classes.

    Raises LeftOut where the dataset has no classes or its extractor is no classifier of them.
    """
    eye = subject.eye
    if not isinstance(eye, ClassifierExtractor) or eye.name != "classifier":
        raise LeftOut(f"it takes the dataset's own classifier, and the feature extractor is {eye.name}")
    found: ClassifierExtractor = eye

    @torch.inference_mode()
    def read(images: Images) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        parts = []
        for first in range(0, len(images), CHUNK):
            x = torch.from_numpy(images[first : first + CHUNK]).permute(0, 3, 1, 2).to(found.device)
            parts.append(found.net(prepare(x, found.size)).softmax(dim=1).cpu())
        sure, label = torch.cat(parts).max(dim=1)
        return label.numpy(), sure.double().numpy()

    return read, found.net.head.out_features
