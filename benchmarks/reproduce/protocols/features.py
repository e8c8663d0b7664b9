"""Features of trained nets: D's maps under a linear SVM, E's last hidden layer under a nearest-neighbour classifier.

Shape legend: B batch, C channels, H height, W width, N images, F features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.reproduce.case import Case
from benchmarks.reproduce.figures import Figure
from benchmarks.reproduce.protocols.classes import percent
from trainer.evaluate.nearest import nearest_error
from trainer.evaluate.separability import linear_svm, pooled

BATCH = 500
CONSTANT_LABEL = 0
"""A conditional D sees every image with this label: given the true one, its features would simply hold it."""


def discriminator_svm(case: Case) -> Iterator[Figure]:
    """Linear SVM on D's maps, max-pooled to 4 × 4 (Radford et al. 2016, section 5.1)."""
    net = case.trained.nets.nets["D"]
    images, labels = case.inputs("train")
    test, truth = case.inputs("test")
    count = min(case.scale.svm, len(images))
    found = linear_svm(_maps(net, images[:count], case), labels[:count], _maps(net, test, case), truth)
    name = f"linear SVM on D's features ({count:,} training images)"
    yield percent(name, found, paper="82.8 % (CIFAR-10)")


def encoder_neighbours(paper: str, target: float | None) -> Callable[[Case], Iterator[Figure]]:
    """1-NN test accuracy on the layer before E's output, batch norm re-estimated (Donahue et al. 2017, section 4.1)."""

    def measure(case: Case) -> Iterator[Figure]:
        images, labels = case.inputs("train")
        test, truth = case.inputs("test")
        net = with_statistics_of(case.trained.nets.net("E"), images)
        hidden = nearest_error(hidden_layer(net, test), truth, hidden_layer(net, images), labels)
        yield percent("1-NN test accuracy on E's last hidden layer", hidden.complement, paper=paper, target=target)
        codes = nearest_error(_outputs(net, test), truth, _outputs(net, images), labels)
        yield percent("1-NN test accuracy on E(x) itself", codes.complement, paper="92.10 (BiGAN)")

    return measure


def discriminator_neighbours(case: Case) -> Iterator[Figure]:
    """The same on the layer before D's output, for a D that sees images alone."""
    images, labels = case.inputs("train")
    test, truth = case.inputs("test")
    net = with_statistics_of(case.trained.nets.nets["D"], images)
    found = nearest_error(hidden_layer(net, test), truth, hidden_layer(net, images), labels)
    yield percent("1-NN test accuracy on D's last hidden layer", found.complement, paper="97.30 %")


@torch.no_grad()
def with_statistics_of(net: nn.Module, images_NCHW: Tensor) -> nn.Module:
    """A copy of the net, in evaluation mode, whose batch-norm statistics are those over all these images.

    Running averages of training lag behind the weights; the mean over equally large batches of the set does not.
    """
    copied = copy.deepcopy(net).eval()
    norms = [module for module in copied.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: the cumulative average
        norm.train()
    if norms:
        whole = len(images_NCHW) // BATCH * BATCH or len(images_NCHW)  # equally large batches
        for chunk in torch.split(images_NCHW[:whole], BATCH):
            copied(chunk)
    return copied.eval()


@torch.no_grad()
def hidden_layer(net: nn.Module, images_NCHW: Tensor) -> NDArray[np.float32]:
    """What goes into the net's last linear layer: [N, F]. Raises ValueError for a net without one."""
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"{type(net).__name__} has no linear layer, so no layer before its output is known")
    kept: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].flatten(1)))
    try:
        for chunk in torch.split(images_NCHW, BATCH):
            net(chunk)
    finally:
        handle.remove()
    found: NDArray[np.float32] = torch.cat(kept).numpy()
    return found


@torch.no_grad()
def _outputs(net: nn.Module, images_NCHW: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = torch.cat([net(chunk) for chunk in torch.split(images_NCHW, BATCH)]).numpy()
    return found


@torch.no_grad()
def _maps(net: nn.Module, images_NCHW: Tensor, case: Case) -> NDArray[np.float32]:
    """D's maps after each activation, pooled: [N, F]."""
    activations = [module for module in net.modules() if isinstance(module, (nn.LeakyReLU, nn.ReLU))]
    maps: list[Tensor] = []
    handles = [module.register_forward_hook(lambda _, __, output: maps.append(output)) for module in activations]
    parts = []
    try:
        for chunk in torch.split(images_NCHW, BATCH):
            maps.clear()
            label = torch.full((len(chunk),), CONSTANT_LABEL) if case.trained.spec.arch.conditional else None
            net(chunk, label)
            parts.append(pooled([layer for layer in maps if layer.ndim == 4]))
    finally:
        for handle in handles:
            handle.remove()
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found
