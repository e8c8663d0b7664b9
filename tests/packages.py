"""Packages of small generators, as publishing makes them: fixtures for the tests of whoever makes, reads or serves them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.state import TrainState
from trainer.families.arch import CodedLatent
from trainer.families.table import recipes
from trainer.publish import build_package
from trainer.publish.card import Lineage

PROVENANCE = {"extractor": "classifier", "extractor_digest": "e" * 64, "dataset_digest": "d" * 64, "truncation": None}


@pytest.fixture(scope="session")
def packaged(tmp_path_factory, digits_cache):
    """(recipe, changes of its arch) -> a generator with its data and package. The data are the grey digits at any `channels`."""
    return lambda recipe, arch: _made(tmp_path_factory.mktemp(recipe), digits_cache, recipe, arch)


def _made(folder, cache, recipe, arch):
    spec, grey = recipes()[recipe](), {**arch, "channels": 1}
    spec = spec.replace(arch=spec.arch.replace(**grey), resources=spec.resources.replace(workers=1))
    distributed, dataset = Distributed.create(spec, world=1), open_dataset(spec, cache_dir=cache)
    if arch.get("channels", 1) != 1:
        spec = spec.replace(arch=spec.arch.replace(**arch), data=spec.data.replace(url="data/colours"))
    state = TrainState.create(spec, distributed)
    lineage = Lineage("job-7", 120, 7680, dataset.manifest.digest, spec.digest(), "0.1.0")
    package = build_package(
        state, folder / "model", dataset=dataset, scores={"fid": 12.5}, provenance=PROVENANCE, lineage=lineage
    )
    return SimpleNamespace(
        spec=spec, state=state, dataset=dataset, distributed=distributed, folder=package, lineage=lineage
    )


@pytest.fixture(scope="session")
def conditional(packaged):
    """Class-conditional DCGAN with a normal prior."""
    return packaged("dcgan-digits", {"g_width": 4, "d_width": 4, "resolution": 8})


@pytest.fixture(scope="session")
def unconditional(packaged):
    """The MLP GAN with a uniform prior, sigmoid pixels and no classes."""
    return packaged("gan-digits", {"g_hidden": 16, "d_hidden": 8, "resolution": 8, "classes": 0})


@pytest.fixture(scope="session")
def coded(packaged):
    """InfoGAN with two categorical and two continuous codes and a normal prior, so that truncation is possible."""
    latent = CodedLatent(dim=5, categorical=(10, 3), continuous=2)
    narrow = {"g_width": 4, "d_width": 4, "g_hidden": 8, "d_hidden": 8, "q_hidden": 4}
    return packaged("infogan-digits", {"resolution": 8, "latent": latent, **narrow})


@pytest.fixture(scope="session")
def encoding(packaged):
    """BiGAN: an encoder beside the generator."""
    return packaged("bigan-digits", {"resolution": 8, "g_hidden": 8, "e_hidden": 8, "d_hidden": 8})
