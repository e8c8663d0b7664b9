"""What `agon import` makes of a BigGAN-PyTorch checkpoint is a beginning for a training: all of G and D is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from biggan_theirs import biggan, discriminator, saved

from trainer.checkpoint import read
from trainer.origin.fit import fit, nets_of
from trainer.origin.nets import expected
from trainer.origin.package import about, unpack
from trainer.publish.biggan_pytorch import import_generator, import_package


@pytest.mark.long
def test_an_imported_pair_of_nets_is_a_checkpoint_that_fits_its_own_arch(tmp_path: Path) -> None:
    for name in ("g", "d"):
        (tmp_path / name).mkdir()
    g, d = saved(biggan(attended=()), tmp_path / "g"), saved(discriminator(32), tmp_path / "d")
    package, _ = import_package(g, tmp_path / "package", "birds", discriminator=d)
    facts, shapes = about(package)
    found = fit(expected(facts.spec), nets_of(shapes))
    assert found.problems == ()
    assert {name.partition("/")[0] for name in found.taken} == {"G", "D"}
    unpack(package, tmp_path / "origin" / "step-000000000")
    tensors, _ = read(tmp_path / "origin" / "step-000000000")
    ours = import_generator(g).generator.state_dict()
    assert all(torch.equal(tensors[f"net/G/{name}"], value) for name, value in ours.items())
    alone, _ = import_package(g, tmp_path / "alone", "birds")
    lacking = fit(expected(about(alone)[0].spec), nets_of(about(alone)[1]))
    assert {problem.path.partition("/")[0] for problem in lacking.problems} == {"D"}
