"""What the sentinel measures at a look: cheap, without touching the training, a function of the state alone.

Shape legend: n images, B batch, C channels, H height, W width, F features, Z latent dimensions, g groups.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.stream import Dataset
from trainer.engine.pixels import from_bytes
from trainer.engine.sampling import draw, evaluating
from trainer.engine.state import TrainState
from trainer.sentinel.rules import D_GAP, D_MARGIN, DIVERSITY, SIGMA_D, SIGMA_G
from trainer.sentinel.spectrum import first, top_singular_values

SAMPLES, GROUPS = 64, 8
"""Fixed latents; with classes in so many groups, each of one class."""
REAL = 128
"""Real images that D judges, and held-out ones if there are any."""
SEED = 0
MAX_SIDE = 32
SATURATING = frozenset({"minimax", "non-saturating", "hinge"})
"""Losses of which a logit is a decision that can be too sure: of the others only differences count, or targets hold it."""


class Observer:
    """Measures a state. Real images are read once, at the first look: the first ones, from few shards.

    All nets are called in evaluation mode, so dropout, running statistics and spectral vectors are left as they are.
    """

    def __init__(self, state: TrainState, dataset: Dataset, device: torch.device) -> None:
        self._device, self._dataset, self._arch = device, dataset, state.spec.arch
        self._decides = state.spec.objective.loss in SATURATING
        self._z, labels = draw(state.family, self._arch, n=SAMPLES, seed=SEED)
        # Within a class: a generator that ignores z would still differ from class to class.
        self._groups = 1 if labels is None else GROUPS
        self._labels = None if labels is None else labels[:GROUPS].repeat_interleave(SAMPLES // GROUPS)
        self._project = Projection(self._arch.channels, device)
        self._real = self._read(range(min(REAL, dataset.held_out.start)))
        held_out = dataset.held_out
        self._held_out = self._read(held_out[:REAL]) if held_out else None
        self._scale = spread(self._project(self._real[0][:SAMPLES]), 1)

    def measure(self, state: TrainState) -> dict[str, float]:
        """`sentinel/…` by name; a value may be NaN or infinite if the state is. Waits for the device."""
        nets = [player.net for player in state.players.values()]
        weights = {
            name: weight
            for name, player in ((SIGMA_G, "G"), (SIGMA_D, "D"))
            if player in state.players
            for weight in first(state.players[player].net).values()
        }
        found = top_singular_values(weights)
        with evaluating(*nets):
            fake = self._generate(state)
            found[DIVERSITY] = spread(self._project(fake), self._groups) / max(self._scale, 1e-12)
            if "D" in state.players:
                found.update(self._judge(state, fake))
        return found

    def _judge(self, state: TrainState, fake: Tensor) -> dict[str, float]:
        nets = {name: player.net for name, player in state.players.items()}
        images, labels = self._real
        real_n = state.family.judge(nets, images, labels)
        fake_n = state.family.judge(nets, fake, self._on_device(self._labels), self._z.to(self._device))
        found = {D_MARGIN: margin(real_n, fake_n)} if self._decides else {}
        if self._held_out is not None:
            found[D_GAP] = gap(real_n, state.family.judge(nets, *self._held_out))
        return found

    def _generate(self, state: TrainState) -> Tensor:
        images: Tensor = state.players["G"].net(self._z.to(self._device), self._on_device(self._labels))
        return images

    def _read(self, samples: range) -> tuple[Tensor, Tensor | None]:
        images, labels = self._dataset.images(np.asarray(samples))
        pixels = from_bytes(images.to(self._device), self._arch.pixel_range)
        return pixels, self._on_device(labels) if self._arch.conditional else None

    def _on_device(self, labels: Tensor | None) -> Tensor | None:
        return None if labels is None else labels.to(self._device)


class Projection:
    """Fixed random features of images: two convolutions that are never trained, so a distance means the same for ever.

    A picture and the same one with noise are close in them, as in a trained net and unlike in pixels.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        source = torch.Generator().manual_seed(SEED)
        self._first = (torch.randn(16, channels, 5, 5, generator=source) / (25 * channels) ** 0.5).to(device)
        self._second = (torch.randn(32, 16, 3, 3, generator=source) / 144**0.5).to(device)

    def __call__(self, images_nCHW: Tensor) -> Tensor:
        """[n, F] float32 of images in any pixel range."""
        x = images_nCHW.float()
        if x.shape[-1] > MAX_SIDE:
            x = F.interpolate(x, size=(MAX_SIDE, MAX_SIDE), mode="area")
        x = F.conv2d(x, self._first, stride=2 if x.shape[-1] > 16 else 1, padding=2).relu()
        x = F.conv2d(F.avg_pool2d(x, 2), self._second, padding=1).relu()
        return F.adaptive_avg_pool2d(x, 4).flatten(1)


def spread(features_nF: Tensor, groups: int) -> float:
    """Mean distance of two rows of the same group; the groups are contiguous and equally large."""
    parts = features_nF.reshape(groups, -1, features_nF.shape[1])
    return float(torch.stack([F.pdist(part).mean() for part in parts]).mean())


def margin(real_n: Tensor, fake_n: Tensor) -> float:
    """How sure D is, in logits: the lesser of median D(x) and −median D(G(z)); negative where it is mostly wrong."""
    return float(torch.minimum(real_n.double().median(), -fake_n.double().median()))


def gap(trained_n: Tensor, held_out_n: Tensor) -> float:
    """2 P(D(trained) > D(held out)) − 1 over all pairs, ties half: 0 if D treats them alike, 1 if it knows each by heart.

    Only the order of the logits counts, so it means the same for every loss (Somers' D, the Mann–Whitney statistic).
    """
    return float((trained_n.double()[:, None] - held_out_n.double()[None]).sign().mean())
