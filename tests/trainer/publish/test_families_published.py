"""Packages of the families that the other tests here do not use: loaded back, they sample, encode and decode as the nets do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from trainer.engine.pixels import from_bytes
from trainer.engine.sampling import sample
from trainer.publish.portable.generator import Generator

SMALL = {
    "cgan-digits": {"g_z_hidden": 4, "g_y_hidden": 4, "g_hidden": 8, "d_x_hidden": 4, "d_y_hidden": 4, "d_hidden": 8},
    "r3gan-digits": {"g_width": 8, "d_width": 8, "channels": 3},
    "ae-digits": {"g_hidden": 8, "e_hidden": 8, "channels": 3},
    "vae-digits": {"g_hidden": 8, "e_hidden": 8},
}


@pytest.fixture(scope="module", params=SMALL)
def published(request, packaged):
    return packaged(request.param, {"resolution": 8, **SMALL[request.param]})


def test_a_package_samples_the_engines_images_in_all_channels(published):
    generator, arch = Generator(published.folder), published.spec.arch
    options = {"n": 6, "seed": 9, **({"labels": [0, 9, 4, 4, 1, 2]} if arch.conditional else {})}
    images = generator.sample(**options)
    assert images.shape == (6, 8, 8, arch.channels)
    assert len(np.unique(images.reshape(6, -1), axis=0)) == 6
    np.testing.assert_array_equal(images, sample(published.state.family, arch, published.state.generator, **options))


def test_a_package_encodes_and_decodes_as_the_nets_do_where_there_is_an_encoder(published):
    arch, generator = published.spec.arch, Generator(published.folder)
    assert json.loads((published.folder / "config.json").read_text())["encoder"] is arch.encoder
    if not arch.encoder:
        with pytest.raises(ValueError, match="has no encoder"):
            generator.encode(np.zeros((1, 8, 8, arch.channels), np.uint8))
        return
    images = torch.randint(0, 256, (20, arch.channels, 8, 8), dtype=torch.uint8)
    with torch.inference_mode():
        z = published.state.net("E").eval()(from_bytes(images, arch.pixel_range))
        again = published.state.generator.eval()(z, None)
    found = generator.encode(images.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(found, z.numpy(), rtol=1e-4, atol=1e-5)
    low, high = arch.pixel_range
    expected = (again - low) / (high - low) * 255.0
    assert np.abs(generator.decode(found).astype(float) - expected.permute(0, 2, 3, 1).numpy()).max() <= 1.0
