"""The conditional GAN of Mirza & Osindero 2014, section 4.1.

The noise (or the image) and the label each have a hidden layer of their own before they meet in a joint one. The paper
gives dropout of 0.5 in both nets and no place for it: here it acts on all hidden layers and on no input. It gives no
initial weights either: they are torch's, U(±1 / √inputs), which weigh a one-hot of few classes as much as many pixels.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.families.base import Family
from trainer.families.cgan.arch import CganArch
from trainer.nets.condition import one_hot
from trainer.nets.maxout import Maxout


class Generator(nn.Module):
    """z_BZ, labels_B → images_BCRR in (0, 1)."""

    def __init__(self, arch: CganArch) -> None:
        super().__init__()
        self.classes = arch.classes
        self.shape = (arch.channels, arch.resolution, arch.resolution)
        self.z = _relu(arch.latent.width, arch.g_z_hidden, arch.g_dropout)
        self.y = _relu(arch.classes, arch.g_y_hidden, arch.g_dropout)
        self.joint = nn.Sequential(
            *_relu(arch.g_z_hidden + arch.g_y_hidden, arch.g_hidden, arch.g_dropout),
            nn.Linear(arch.g_hidden, arch.channels * arch.resolution**2),
            nn.Sigmoid(),
        )

    def forward(self, z_BZ: Tensor, labels_B: Tensor) -> Tensor:
        y_BK = one_hot(labels_B, self.classes, z_BZ.dtype)
        pixels_BF: Tensor = self.joint(torch.cat([self.z(z_BZ), self.y(y_BK)], dim=1))
        return pixels_BF.reshape(-1, *self.shape)


class Discriminator(nn.Module):
    """images_BCRR, labels_B → logits_B."""

    def __init__(self, arch: CganArch) -> None:
        super().__init__()
        self.classes = arch.classes
        pixels = arch.channels * arch.resolution**2
        drop, pieces = arch.d_dropout, arch.branch_pieces
        self.x = nn.Sequential(nn.Flatten(), Maxout(pixels, arch.d_x_hidden, pieces), nn.Dropout(drop))
        self.y = nn.Sequential(Maxout(arch.classes, arch.d_y_hidden, pieces), nn.Dropout(drop))
        self.joint = nn.Sequential(
            Maxout(arch.d_x_hidden + arch.d_y_hidden, arch.d_hidden, arch.joint_pieces),
            nn.Dropout(drop),
            nn.Linear(arch.d_hidden, 1),
        )

    def forward(self, x_BCRR: Tensor, labels_B: Tensor) -> Tensor:
        y_BK = one_hot(labels_B, self.classes, x_BCRR.dtype)
        logits_B1: Tensor = self.joint(torch.cat([self.x(x_BCRR), self.y(y_BK)], dim=1))
        return logits_B1.squeeze(1)


class Cgan(Family[CganArch]):
    """Two players, G and D, in alternation."""

    def build(self, arch: CganArch) -> dict[str, nn.Module]:
        return {"G": Generator(arch), "D": Discriminator(arch)}


def _relu(inputs: int, units: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout))


FAMILY = Cgan()
