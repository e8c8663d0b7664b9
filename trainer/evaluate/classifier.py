"""The offline feature extractor: a small classifier of the dataset's own images, trained once and cached.

With classes it learns them; a dataset without classes is learned by predicting rotations (Gidaris et al. 2018), which
needs no labels. Each feature is shifted and scaled to mean 0 and deviation 1 over the images that the net learned from:
training leaves features on scales of their own, and a few would decide every distance. The distances rank models of one
dataset; they are not comparable with Inception's.

Shape legend: B batch, N images, C channels, S working resolution, F features, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.data.stream import Dataset
from trainer.evaluate.files import file_digest, replace_atomically

VERSION = 2
"""Raised whenever net or training change, so that caches of older code are not used."""
FEATURES = 128
MAX_RESOLUTION = 64
MAX_IMAGES = 20_000
EPOCHS = 8
SHOWN = 40_000
"""Training ends after that many epochs or images, whichever comes first."""
BATCH = 128
ROTATIONS = 4


LEAST_SCALE = 0.1
"""Least divisor of a feature, as a share of the mean deviation: one that hardly moves on real images, divided by its own
deviation, would outweigh all others as soon as a generated image moves it."""


class FeatureNet(nn.Module):
    """Three convolution blocks and a hidden layer, whose ReLU outputs, standardised, are the features.

    Takes x_BCSS in [-1, 1], S at least 8. Above 16 px the first convolution has stride 2.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        stem = 2 if size > 16 else 1
        side = size // stem // 4
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride=stem, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(),
            nn.Linear(64 * side * side, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))

    def features(self, x_BCSS: Tensor) -> Tensor:
        """Activations of the hidden layer, standardised by `standardise`'s images, [B, F]."""
        features: Tensor = (self.body(x_BCSS) - self.mean) / self.scale
        return features

    @torch.inference_mode()
    def standardise(self, images_NCSS: Tensor) -> None:
        """Make these images' features have mean 0 and deviation 1 (less where it is far below the others')."""
        hidden_NF = torch.cat([self.body(chunk) for chunk in torch.split(images_NCSS, 1000)]).double()
        deviation_F = hidden_NF.std(dim=0, correction=0)
        self.mean.copy_(hidden_NF.mean(dim=0))
        # A net that has learned nothing at all has deviations of 0; then the features stay as they are, all alike.
        self.scale.copy_(deviation_F.clamp_min(LEAST_SCALE * deviation_F.mean()).where(deviation_F.mean() > 0, 1.0))

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Logits, [B, K]."""
        logits: Tensor = self.head(self.body(x_BCSS))
        return logits


@dataclass(frozen=True)
class ClassifierExtractor:
    """Features of the dataset's own classifier. `name` says which task it learned."""

    name: str
    digest: str
    resizer: str
    net: FeatureNet
    size: int
    device: torch.device

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """uint8 images of the dataset's resolution and channels → float32 features [B, F] on the CPU."""
        return self.net.features(prepare(images_BCHW.to(self.device), self.size)).float().cpu()


def prepare(images_BCHW: Tensor, size: int) -> Tensor:
    """uint8 → float32 in [-1, 1] at the working resolution (bilinear with antialiasing when that is smaller)."""
    x = images_BCHW.float().div(127.5).sub(1.0)
    if x.shape[-1] != size:
        x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return x


def classifier_extractor(dataset: Dataset, cache_dir: Path, device: torch.device) -> ClassifierExtractor:
    """The dataset's extractor from the cache, trained first if it isn't there. Safe in many processes at once."""
    manifest = dataset.manifest
    labelled = len(manifest.classes) > 1
    size = min(manifest.resolution, MAX_RESOLUTION)
    task = "classifier" if labelled else "rotation-classifier"
    path = cache_dir / "extractors" / f"{task}-v{VERSION}-{manifest.digest[:32]}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):  # initial weights must not move the training's generator
        net = FeatureNet(manifest.channels, size, len(manifest.classes) if labelled else ROTATIONS)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            train(net, *training_set(dataset, size, labelled), seed=_seed(manifest.digest))
            with replace_atomically(path) as aside:
                save_file(net.state_dict(), aside)
    net.load_state_dict(load_file(path))
    resizer = "none" if size == manifest.resolution else f"bilinear-antialias-{size}"
    return ClassifierExtractor(task, file_digest(path), resizer, net.eval().to(device), size, device)


def training_set(dataset: Dataset, size: int, labelled: bool) -> tuple[Tensor, Tensor | None]:
    """Up to `MAX_IMAGES` images, evenly spaced over the dataset: float32 NCSS in [-1, 1] and labels or None."""
    samples = dataset.manifest.samples
    indices = np.unique(np.linspace(0, samples - 1, min(samples, MAX_IMAGES)).astype(np.int64))
    parts = [dataset.images(chunk) for chunk in np.array_split(indices, -(-len(indices) // 1000))]
    images = torch.cat([prepare(images, size) for images, _ in parts])
    return images, torch.cat([labels for _, labels in parts]) if labelled else None


def train(net: FeatureNet, images_NCSS: Tensor, labels_N: Tensor | None, *, seed: int) -> None:
    """Train with Adam and a cosine schedule for `EPOCHS` or about `SHOWN` images, then standardise the features by the
    same images. Leaves the net in eval mode.

    Deterministic on one kind of CPU: initial weights and order come from `seed`, and one thread keeps the order of
    every sum (a job of one process and one of two workers get the same extractor).
    """
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
                module.reset_parameters()
        order = list(_batches(len(images_NCSS)))
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(order))
        net.train()
        for rows in order:
            x, y = (images_NCSS[rows], labels_N[rows]) if labels_N is not None else rotate(images_NCSS[rows])
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(net(x), y, label_smoothing=0.05))
            optimizer.step()
            schedule.step()
        net.eval()
        net.standardise(images_NCSS)


def rotate(x_BCSS: Tensor) -> tuple[Tensor, Tensor]:
    """Each image turned by 0, 90, 180 or 270 degrees, a quarter of the batch each, and which it was."""
    turns = torch.arange(len(x_BCSS)) % ROTATIONS
    turned = x_BCSS.clone()
    for turn in range(1, ROTATIONS):
        turned[turns == turn] = torch.rot90(x_BCSS[turns == turn], turn, dims=(2, 3))
    return turned, turns


def _batches(count: int) -> Iterator[Tensor]:
    """Rows of each training batch, in epochs of random order from torch's generator."""
    batch = min(BATCH, count)
    left = min(SHOWN, EPOCHS * count)
    while left > 0:
        for rows in torch.randperm(count)[: count // batch * batch].reshape(-1, batch):
            yield rows
            left -= len(rows)
            if left <= 0:
                return


def _seed(digest: str) -> int:
    return int.from_bytes(hashlib.sha256(f"extractor-{VERSION}-{digest}".encode()).digest()[:4])


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
