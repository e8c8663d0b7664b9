"""InfoGAN is built as in the paper's appendix C.1 and the authors' code, and its phases train what Eq. 6 says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from trainer.families.infogan.arch import InfoganArch
from trainer.families.infogan.nets import FAMILY
from trainer.families.infogan.recipes import infogan, infogan_gan
from trainer.objective.phases import Batch
from trainer.spec import Adam, JobSpec, with_overrides
from trainer.spec.sections import Clip

SMALL = [
    "arch.resolution=8",
    "arch.g_width=4",
    "arch.d_width=4",
    "arch.g_hidden=8",
    "arch.d_hidden=8",
    "arch.q_hidden=8",
]


def linears(net: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]


def convolutions(net: nn.Module) -> list[tuple[int, int, tuple[int, ...], tuple[int, ...]]]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    found = [m for m in net.modules() if isinstance(m, kinds)]
    return [(m.in_channels, m.out_channels, m.kernel_size, m.stride) for m in found]


def test_nets_have_the_papers_layers() -> None:
    nets = FAMILY.build(InfoganArch())
    assert linears(nets["G"]) == [(74, 1024), (1024, 7 * 7 * 128)]
    assert convolutions(nets["G"]) == [(128, 64, (4, 4), (2, 2)), (64, 1, (4, 4), (2, 2))]
    assert convolutions(nets["D"]) == [(1, 64, (4, 4), (2, 2)), (64, 128, (4, 4), (2, 2))]
    assert linears(nets["D"]) == [(7 * 7 * 128, 1024), (1024, 1)]
    assert linears(nets["Q"]) == [(1024, 128), (128, 10 + 2)]
    norms = {
        name: sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()) for name, net in nets.items()
    }
    assert norms == {"G": 3, "D": 2, "Q": 1}


def test_the_recipe_has_the_papers_numbers() -> None:
    spec = infogan()
    assert (spec.arch.latent.dim, spec.arch.latent.width) == (62, 74)
    assert [(code.name, code.kind, code.size) for code in spec.arch.latent.codes] == [
        ("c1", "categorical", 10), ("c2", "continuous", 1), ("c3", "continuous", 1),
    ]  # fmt: skip
    rates = {name: (adam.lr, adam.beta1) for name, adam in spec.optimizers.items() if isinstance(adam, Adam)}
    assert rates == {"G": (1e-3, 0.5), "D": (2e-4, 0.5), "Q": (2e-4, 0.5)}
    assert (spec.train.batch, spec.train.images // spec.train.batch) == (128, 5000)
    assert (spec.arch.categorical_weight, spec.arch.sigma) == (1.0, 1.0)


def test_a_latent_without_codes_is_refused() -> None:
    with pytest.raises(ValidationError, match="no code"):
        InfoganArch.model_validate({"latent": {"dim": 4, "categorical": [], "continuous": 0}})


def spec_of(base: JobSpec, *changes: str) -> JobSpec:
    return with_overrides(base, [*SMALL, *changes])


def batch_of(spec: JobSpec, n: int = 8) -> Batch:
    source = torch.Generator().manual_seed(1)
    real = torch.rand(n, 1, 8, 8, generator=source)
    return Batch(real, None, FAMILY.latents(spec.arch, n, source), None, 0)


def gradients(spec: JobSpec, phase: str) -> dict[str, dict[str, Tensor]]:
    """Of every player that steps in the phase, by parameter."""
    torch.manual_seed(0)
    nets = FAMILY.build(spec.arch)
    found = next(found for found in FAMILY.phases(spec) if found.name == phase)
    for name, net in nets.items():
        net.requires_grad_(name in found.players)
    found.loss(nets, batch_of(spec)).total.backward()
    return {
        name: {path: p.grad for path, p in nets[name].named_parameters() if p.grad is not None}
        for name in found.players
    }


def largest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[path] - other[path]).abs().max().item() for path in one)


def test_the_bound_trains_g_and_ds_body_and_in_the_plain_gan_neither() -> None:
    heavy = ["arch.categorical_weight=50"]
    plain, watched = spec_of(infogan_gan()), spec_of(infogan_gan(), *heavy)
    whole, weighted = spec_of(infogan()), spec_of(infogan(), *heavy)
    assert largest(gradients(plain, "D")["D"], gradients(watched, "D")["D"]) == 0.0
    assert largest(gradients(plain, "G")["G"], gradients(watched, "G")["G"]) == 0.0
    assert largest(gradients(plain, "D")["Q"], gradients(whole, "D")["Q"]) < 1e-7  # Q learns alike in both
    assert largest(gradients(whole, "D")["D"], gradients(weighted, "D")["D"]) > 1e-3
    assert largest(gradients(whole, "G")["G"], gradients(weighted, "G")["G"]) > 1e-4
    head = gradients(whole, "D")["D"]["head.weight"]
    torch.testing.assert_close(
        head, gradients(weighted, "D")["D"]["head.weight"]
    )  # the bound is no matter of D's verdict


def test_clipping_is_for_d_alone() -> None:
    spec = spec_of(infogan())
    spec = spec.replace(objective=spec.objective.replace(loss="wasserstein", penalties=(Clip(bound=0.001),)))
    nets: dict[str, Any] = FAMILY.build(spec.arch)
    for change in FAMILY.phases(spec)[0].after_update:
        for name in ("D", "Q"):
            change(nets[name])
    assert max(p.abs().max().item() for p in nets["D"].parameters()) <= 0.001 + 1e-9
    assert max(p.abs().max().item() for p in nets["Q"].parameters()) > 0.01
