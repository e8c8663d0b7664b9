"""DCGAN (Radford et al. 2016, section 3), optionally conditioned on labels as in the authors' MNIST code.

The paper's guidelines: strided convolutions instead of pooling; batch norm in both nets, but not on G's output and
D's input; no fully connected hidden layers; ReLU in G with tanh at its output; leaky ReLU 0.2 in D.

The projection of z and D's output are convolutions over the whole base map: a matrix product each, as in the paper.
Conditional nets append the label's one-hot as constant maps to the input of every layer.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, K classes.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from trainer.families.base import Family
from trainer.families.dcgan.arch import DcganArch
from trainer.nets import init
from trainer.nets.condition import append_maps, one_hot
from trainer.nets.conv import double, doublings, halve
from trainer.nets.norm import norm2d


class Generator(nn.Module):
    """z_BZ [, labels_B] → images_BCRR in (−1, 1)."""

    def __init__(self, arch: DcganArch) -> None:
        super().__init__()
        base, count = doublings(arch.resolution)
        widths = [min(arch.g_width << (count - 1 - i), arch.max_width) for i in range(count)]
        self.classes = arch.classes
        project = nn.ConvTranspose2d(arch.latent.dim + arch.classes, widths[0], base, bias=False)
        self.stages = nn.ModuleList([nn.Sequential(project, nn.BatchNorm2d(widths[0]), nn.ReLU())])
        for inputs, outputs in pairwise(widths):
            up = double(inputs + arch.classes, outputs, arch.kernel)
            self.stages.append(nn.Sequential(up, nn.BatchNorm2d(outputs), nn.ReLU()))
        last = double(widths[-1] + arch.classes, arch.channels, arch.kernel, bias=True)
        self.stages.append(nn.Sequential(last, nn.Tanh()))
        init.normal_(self, 0.02)

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        y_BK = None if labels_B is None or not self.classes else one_hot(labels_B, self.classes)
        x = z_BZ[:, :, None, None]
        for stage in self.stages:
            x = stage(append_maps(x, y_BK))
        return x


class Discriminator(nn.Module):
    """images_BCRR [, labels_B] → logits_B."""

    def __init__(self, arch: DcganArch) -> None:
        super().__init__()
        base, count = doublings(arch.resolution)
        widths = [min(arch.d_width << i, arch.max_width) for i in range(count)]
        self.classes = arch.classes
        first = halve(arch.channels + arch.classes, widths[0], arch.kernel, bias=True)
        self.stages = nn.ModuleList([nn.Sequential(first, nn.LeakyReLU(0.2))])
        for inputs, outputs in pairwise(widths):
            # A bias before batch norm has no effect; before layer norm or none it has.
            down = halve(inputs + arch.classes, outputs, arch.kernel, bias=arch.d_norm != "batch")
            self.stages.append(nn.Sequential(down, norm2d(arch.d_norm, outputs), nn.LeakyReLU(0.2)))
        self.stages.append(nn.Conv2d(widths[-1] + arch.classes, 1, base))
        init.normal_(self, 0.02)

    def forward(self, x_BCRR: Tensor, labels_B: Tensor | None = None) -> Tensor:
        y_BK = None if labels_B is None or not self.classes else one_hot(labels_B, self.classes)
        x = x_BCRR
        for stage in self.stages:
            x = stage(append_maps(x, y_BK))
        return x.flatten()


class Dcgan(Family[DcganArch]):
    """Two players, G and D, in alternation."""

    def build(self, arch: DcganArch) -> dict[str, nn.Module]:
        return {"G": Generator(arch), "D": Discriminator(arch)}


FAMILY = Dcgan()
