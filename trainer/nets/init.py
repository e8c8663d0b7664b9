"""Initial weights. All draw from torch's global generator; on the `meta` device they draw nothing."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def normal_(net: nn.Module, std: float = 0.02) -> None:
    """DCGAN's init in place (Radford et al. 2016, section 4): weights N(0, std), norm scales N(1, std), biases 0."""
    for module in net.modules():
        if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def uniform_(net: nn.Module, bound: float) -> None:
    """Weights of all linear layers U(-bound, bound) in place, biases 0 (Goodfellow et al. 2014, authors' code)."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
