"""DCGAN (Radford et al. 2016, section 3), optionally conditioned on labels as in the authors' MNIST code.

The paper's guidelines: strided convolutions instead of pooling; batch norm in both nets, but not on G's output and
D's input; no fully connected hidden layers; ReLU in G with tanh at its output; leaky ReLU 0.2 in D.

The projection of z and D's output are convolutions over the whole base map: a matrix product each, as in the paper.
Conditional nets append the label's one-hot as constant maps to the input of every layer. The authors' MNIST script
has a hidden fully connected layer of 1024 in either net and a sigmoid at G's output; here the paper's guidelines hold.

Shape legend: B batch, C channels, R resolution, Z latent dimensions, K classes.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

from trainer.families.base import Family
from trainer.families.dcgan.arch import DcganArch
from trainer.nets import init
from trainer.nets.condition import append_features, append_maps, one_hot
from trainer.nets.conv import double, doublings, halve
from trainer.nets.norm import NormName, norm2d


class Generator(nn.Module):
    """z_BZ [, labels_B] → images_BCRR in (−1, 1). With batch norm, or without and then of constant width."""

    def __init__(self, arch: DcganArch) -> None:
        super().__init__()
        base, count = doublings(arch.resolution)
        normed = arch.g_kind == "conv"
        widths = [min(arch.g_width << (count - 1 - i if normed else 0), arch.max_width) for i in range(count)]
        norm: NormName = "batch" if normed else "none"
        self.classes = arch.classes
        # A bias before batch norm has no effect.
        project = nn.ConvTranspose2d(arch.latent.width + arch.classes, widths[0], base, bias=not normed)
        self.stages = nn.ModuleList([nn.Sequential(project, norm2d(norm, widths[0]), nn.ReLU())])
        for inputs, outputs in pairwise(widths):
            up = double(inputs + arch.classes, outputs, arch.kernel, bias=not normed)
            self.stages.append(nn.Sequential(up, norm2d(norm, outputs), nn.ReLU()))
        last = double(widths[-1] + arch.classes, arch.channels, arch.kernel, bias=True)
        self.stages.append(nn.Sequential(last, nn.Tanh()))
        init.normal_(self, 0.02)

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        y_BK = None if labels_B is None or not self.classes else one_hot(labels_B, self.classes)
        x = z_BZ[:, :, None, None]
        for stage in self.stages:
            x = stage(append_maps(x, y_BK))
        return x


class MlpGenerator(nn.Module):
    """z_BZ [, labels_B] → images_BCRR in (−1, 1): four ReLU layers (Arjovsky et al. 2017, section 4.3).

    Initialised as torch does, like the authors'; their output has no tanh, ours does: images lie in the pixel range.
    """

    def __init__(self, arch: DcganArch) -> None:
        super().__init__()
        self.classes = arch.classes
        self.shape = (arch.channels, arch.resolution, arch.resolution)
        widths = (arch.latent.width, *[arch.g_width] * 4)
        self.hidden = nn.ModuleList(nn.Linear(inputs + arch.classes, outputs) for inputs, outputs in pairwise(widths))
        self.output = nn.Linear(arch.g_width + arch.classes, arch.channels * arch.resolution**2)

    def forward(self, z_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        y_BK = None if labels_B is None or not self.classes else one_hot(labels_B, self.classes)
        x = z_BZ
        for layer in self.hidden:
            x = relu(layer(append_features(x, y_BK)))
        pixels: Tensor = self.output(append_features(x, y_BK))
        return pixels.tanh().reshape(-1, *self.shape)


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
        return self.features(x_BCRR, labels_B)[-1].flatten()

    def features(self, x_BCRR: Tensor, labels_B: Tensor | None = None) -> list[Tensor]:
        """Every stage's maps [B, C, H, W] after its activation, from the input on; the last are the logits [B, 1, 1, 1].

        What the paper's section 5.1 classifies images by.
        """
        y_BK = None if labels_B is None or not self.classes else one_hot(labels_B, self.classes)
        maps = [x_BCRR]
        for stage in self.stages:
            maps.append(stage(append_maps(maps[-1], y_BK)))
        return maps[1:]


class Dcgan(Family[DcganArch]):
    """Two players, G and D, in alternation."""

    def build(self, arch: DcganArch) -> dict[str, nn.Module]:
        return {"G": MlpGenerator(arch) if arch.g_kind == "mlp" else Generator(arch), "D": Discriminator(arch)}


FAMILY = Dcgan()
