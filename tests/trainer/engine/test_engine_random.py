"""Random numbers are pure functions: of the world size nothing depends, of the purpose everything."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from engine_doubles import dcgan_spec, gan_spec
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trainer.engine.pixels import from_bytes, to_bytes
from trainer.engine.random import fold, latents, seed_globals
from trainer.engine.sampling import draw, sample
from trainer.families.arch import Latent
from trainer.families.base import Family
from trainer.families.table import family


def test_fold_is_the_documented_function():
    digest = hashlib.sha256(b"7/latents/D/3").digest()
    assert fold(7, "latents", "D", 3) == int.from_bytes(digest[:8], "big") // 2


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**9), st.integers(0, 10**9))
def test_seeds_of_different_updates_differ(seed, a, b):
    assert (fold(seed, "x", a) == fold(seed, "x", b)) == (a == b)
    assert 0 <= fold(seed, "x", a) < 2**63


@given(world=st.sampled_from([1, 2, 4, 8]), number=st.integers(0, 10**6), seed=st.integers(0, 2**31 - 1))
def test_latents_and_labels_do_not_depend_on_the_world_size(world, number, seed):
    spec, found = dcgan_spec(), family("dcgan")
    whole = latents(found, spec.arch, 16, slice(0, 16), seed=seed, phase="G", number=number)
    local = 16 // world
    parts = [
        latents(found, spec.arch, 16, slice(r * local, (r + 1) * local), seed=seed, phase="G", number=number)
        for r in range(world)
    ]
    assert torch.equal(torch.cat([z for z, _ in parts]), whole[0])
    assert torch.equal(torch.cat([y for _, y in parts]), whole[1])


def test_latents_differ_between_updates_phases_and_seeds():
    spec, found = gan_spec(), Family()
    draws = [
        latents(found, spec.arch, 4, slice(0, 4), seed=seed, phase=phase, number=number)[0]
        for seed in (0, 1) for phase in ("D", "G") for number in (0, 1)
    ]  # fmt: skip
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])


def test_the_global_generators_are_seeded_by_purpose_and_rank():
    def drawn(*parts):
        seed_globals(*parts)
        return torch.rand(3)

    assert torch.equal(drawn(0, "global", "D", 5, 1), drawn(0, "global", "D", 5, 1))
    assert not torch.equal(drawn(0, "global", "D", 5, 1), drawn(0, "global", "D", 5, 0))


def test_image_i_depends_on_the_seed_and_i_alone():
    spec, found = dcgan_spec(), family("dcgan")
    torch.manual_seed(0)
    g = found.build(spec.arch)["G"]
    whole = sample(found, spec.arch, g, n=13, seed=5)
    pieces = [
        sample(found, spec.arch, g, n=n, seed=5, start=start, batch=batch)
        for start, n, batch in ((0, 4, 256), (4, 1, 1), (5, 8, 3))
    ]
    joined = np.concatenate(pieces)
    assert whole.shape == (13, 8, 8, 1)
    assert whole.dtype == np.uint8
    assert np.abs(whole.astype(int) - joined.astype(int)).max() <= 1
    assert not np.array_equal(whole, sample(found, spec.arch, g, n=13, seed=6))
    z, _ = draw(found, spec.arch, n=13, seed=5)
    z_tail, _ = draw(found, spec.arch, n=3, seed=5, start=10)
    assert torch.equal(z[10:], z_tail)


def test_sampling_leaves_the_net_as_it_was():
    spec, found = dcgan_spec(), family("dcgan")
    g = found.build(spec.arch)["G"].train()
    next(g.children()).eval()
    modes = {name: module.training for name, module in g.named_modules()}
    before = {name: value.clone() for name, value in g.state_dict().items()}
    sample(found, spec.arch, g, n=4, seed=0)
    assert modes == {name: module.training for name, module in g.named_modules()}
    assert all(torch.equal(value, before[name]) for name, value in g.state_dict().items())


def test_truncated_latents_follow_the_truncated_normal():
    spec = dcgan_spec()
    arch = spec.arch.model_copy(update={"latent": Latent(dim=50)})
    z, _ = draw(Family(), arch, n=200, seed=0, truncation=0.7)
    assert float(z.abs().max()) <= 0.7
    assert stats.kstest(z.flatten().numpy(), stats.truncnorm(-0.7, 0.7).cdf).pvalue > 1e-3
    plain, _ = draw(Family(), arch, n=200, seed=0)
    kept = plain.abs() <= 0.7
    assert torch.equal(z[kept], plain[kept])  # only the coordinates outside are drawn again


def test_truncation_needs_a_normal_prior_and_labels_must_fit():
    spec, found = gan_spec("arch.latent={dim: 8, distribution: uniform}"), family("gan")
    g = found.build(spec.arch)["G"]
    with pytest.raises(ValueError, match="normal prior"):
        sample(found, spec.arch, g, n=2, seed=0, truncation=0.5)
    with pytest.raises(ValueError, match=r"2 integers in \[0, 10\)"):
        sample(found, spec.arch, g, n=2, seed=0, labels=[0, 10])
    with pytest.raises(ValueError, match="n is 0"):
        sample(found, spec.arch, g, n=0, seed=0)


@pytest.mark.parametrize("pixel_range", [(-1.0, 1.0), (0.0, 1.0)])
def test_bytes_survive_the_way_to_the_pixel_range_and_back(pixel_range):
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    scaled = from_bytes(every, pixel_range)
    assert (float(scaled.min()), float(scaled.max())) == pytest.approx(pixel_range)
    assert torch.equal(to_bytes(scaled, pixel_range), every)
    low, high = pixel_range
    beyond = torch.tensor([low - 5, high + 5, low + 0.4 / 255 * (high - low)]).reshape(1, 1, 1, 3)
    assert to_bytes(beyond, pixel_range).flatten().tolist() == [0, 255, 0]
