"""The MLP GAN of Goodfellow et al. 2014 as the authors' code builds it, optionally conditioned on labels.

Dropout is torch's: what it keeps is scaled by 1 / share kept, which the authors' input scales (1.25 and 2) are.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from trainer.families.base import Family
from trainer.families.gan.arch import GanArch
from trainer.nets import init
from trainer.nets.condition import append_features, one_hot
from trainer.nets.maxout import Maxout

MARGIN = 1e-7
"""Distance of a pixel's mean to 0 and 1 at which its logit is cut."""


class Generator(nn.Module):
    """z_BZ [, labels_B] → images_BCRR in (0, 1): two ReLU layers and a sigmoid. The label's one-hot joins z."""

    def __init__(self, arch: GanArch) -> None:
        super().__init__()
        self.classes = arch.classes
        self.shape = (arch.channels, arch.resolution, arch.resolution)
        self.layers = nn.Sequential(
            nn.Linear(arch.latent.width + arch.classes, arch.g_hidden),
            nn.ReLU(),
            nn.Linear(arch.g_hidden, arch.g_hidden),
            nn.ReLU(),
            nn.Linear(arch.g_hidden, arch.channels * arch.resolution**2),
            nn.Sigmoid(),
        )
        init.uniform_(self, 0.05)

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        y_BK = None if labels_B is None or not self.classes else one_hot(labels_B, self.classes)
        pixels_BF: Tensor = self.layers(append_features(z_BZ, y_BK))
        return pixels_BF.reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """images_BCRR [, labels_B] → logits_B: two maxout layers with dropout. The label's one-hot joins the pixels.

    Dropout acts on the pixels and not on the label: an image whose label is hidden could not be judged by it.
    """

    def __init__(self, arch: GanArch) -> None:
        super().__init__()
        self.classes = arch.classes
        pixels = arch.channels * arch.resolution**2
        self.input = nn.Sequential(nn.Flatten(), nn.Dropout(arch.input_dropout))
        self.layers = nn.Sequential(
            Maxout(pixels + arch.classes, arch.d_hidden, arch.maxout_pieces),
            nn.Dropout(arch.hidden_dropout),
            Maxout(arch.d_hidden, arch.d_hidden, arch.maxout_pieces),
            nn.Dropout(arch.hidden_dropout),
            nn.Linear(arch.d_hidden, 1),
        )
        init.uniform_(self, 0.005)

    def forward(self, x_BCRR: Tensor, labels_B: Tensor | None = None) -> Tensor:
        y_BK = None if labels_B is None or not self.classes else one_hot(labels_B, self.classes)
        logits_B1: Tensor = self.layers(append_features(self.input(x_BCRR), y_BK))
        return logits_B1.squeeze(1)


class Gan(Family[GanArch]):
    """Two players, G and D, in alternation."""

    def build(self, arch: GanArch) -> dict[str, nn.Module]:
        return {"G": Generator(arch), "D": Discriminator(arch)}

    def prepare(self, arch: GanArch, nets: Mapping[str, nn.Module], mean_image: Callable[[], Tensor]) -> None:
        """With `mean_start` G's first images are the mean image: the bias of its output is the logit of each pixel's mean.

        Means are kept 1e-7 away from 0 and 1, as the authors' library does. Pixels that are always dark so stay dark.
        """
        if not arch.mean_start:
            return
        bias = nets["G"].get_parameter("layers.4.bias")
        with torch.no_grad():
            bias.copy_(mean_image().clamp(MARGIN, 1.0 - MARGIN).logit().flatten())


FAMILY = Gan()
