"""Self-attention against its definition with the full matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.nets.attention import SelfAttention


def by_definition(layer: SelfAttention, x: Tensor) -> Tensor:
    """Zhang et al. 2019, Eq. 1–3, one query at a time."""
    theta, phi, g = (part(x) for part in (layer.theta, layer.phi, layer.g))
    pooled = [m.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5)).flatten(2) for m in (phi, g)]
    rows = []
    for sample in range(len(x)):
        keys, values = pooled[0][sample], pooled[1][sample]
        queries = theta[sample].flatten(1)
        weights = [torch.softmax(queries[:, n] @ keys, dim=0) for n in range(queries.shape[1])]
        rows.append(torch.stack([values @ weight for weight in weights], dim=1))
    mixed = torch.stack(rows).unflatten(2, x.shape[2:])
    return x + layer.gamma * layer.out(mixed)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_computes_the_full_matrix_form_and_its_gradients(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16).double().to(memory_format=layout)
    nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    ours, theirs = layer(x), by_definition(layer, x)
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-10)
    leaves = [x, *layer.parameters()]
    probe = torch.randn_like(ours)
    found, wanted = (torch.autograd.grad((y * probe).sum(), leaves) for y in (ours, theirs))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-10)


def test_it_starts_as_the_identity_and_can_leave_it() -> None:
    layer, x = SelfAttention(8), torch.randn(1, 8, 4, 4)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert layer.gamma.grad.abs().item() > 0


def test_channels_too_few_for_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="4 channels"):
        SelfAttention(4)
