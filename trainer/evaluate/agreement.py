"""Whether a classifier of real images finds in generated ones the classes that were asked for.

Shape legend: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.evaluate.classifier import MAX_RESOLUTION, FeatureNet, prepare
from trainer.evaluate.nearest import Share

BATCH = 128


def fit(images_NCHW: Tensor, labels_N: Tensor, classes: int, *, epochs: int = 4, seed: int = 0) -> FeatureNet:
    """A small CNN trained on real images (uint8) and their labels, in evaluation mode. Torch's own generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = FeatureNet(images_NCHW.shape[1], size_of(images_NCHW), classes)
        steps = max(1, epochs * len(images_NCHW) // BATCH)
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        order = torch.cat([torch.randperm(len(images_NCHW)) for _ in range(epochs + 1)])
        net.train()
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            optimizer.zero_grad()
            logits = net(prepare(images_NCHW[rows], size_of(images_NCHW)))
            torch.autograd.backward(F.cross_entropy(logits, labels_N[rows]))
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.inference_mode()
def predictions(net: nn.Module, images_NCHW: Tensor) -> NDArray[np.int64]:
    """The classifier's class of each image (uint8): [N]."""
    size = size_of(images_NCHW)
    found = [net(prepare(chunk, size)).argmax(dim=1) for chunk in torch.split(images_NCHW, 1000)]
    classes: NDArray[np.int64] = torch.cat(found).numpy()
    return classes


def agreement(net: nn.Module, images_NCHW: Tensor, asked: NDArray[np.int64]) -> Share:
    """Share of images in which the classifier finds the class `asked` [N]. Read it beside the classifier's own accuracy
    on real test images: it can't be told apart from errors of the classifier."""
    return Share.of(predictions(net, images_NCHW) == asked)


def size_of(images_NCHW: Tensor) -> int:
    """The resolution that the classifier works at."""
    return min(images_NCHW.shape[-1], MAX_RESOLUTION)
