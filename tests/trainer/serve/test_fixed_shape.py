"""An image's bytes are the same whatever else went through the net with it, and wherever in the chunk it was."""

from __future__ import annotations

import numpy as np
import pytest
from asking import model_of

from trainer.publish.portable.generator import Generator
from trainer.serve.work import MOST, Decoding, Encoding, Model

SMALL = {
    "cgan-digits": {"g_z_hidden": 4, "g_y_hidden": 4, "g_hidden": 8, "d_x_hidden": 4, "d_y_hidden": 4, "d_hidden": 8},
    "dcgan-digits": {"g_width": 8, "d_width": 4},
    "infogan-digits": {"g_width": 4, "d_width": 4, "g_hidden": 8, "d_hidden": 8, "q_hidden": 4},
    "bigan-digits": {"g_hidden": 8, "e_hidden": 8, "d_hidden": 8},
    "r3gan-digits": {"g_width": 8, "d_width": 8, "channels": 3},
    "vae-digits": {"g_hidden": 8, "e_hidden": 8},
    "biggan-digits": {"g_width": 8, "d_width": 8},
}


@pytest.fixture(scope="module", params=SMALL)
def model(request, packaged) -> Model:
    return model_of(packaged(request.param, SMALL[request.param]))


def test_an_images_bytes_do_not_depend_on_what_came_along(model):
    generator, source, n = model.generator, np.random.default_rng(0), 12
    z, labels = generator.latents(n, 3), generator.classes(n, 3)
    rows = (z,) if labels is None else (z, labels)
    for chunk in {model.chunk, 4}:
        work = Decoding(Model(model.id, generator, 1, chunk, 1))
        alone = np.concatenate([work.run(tuple(array[i : i + 1] for array in rows)) for i in range(n)])
        for _ in range(8):
            order = source.permutation(n)[: source.integers(1, min(n, chunk) + 1)]
            np.testing.assert_array_equal(work.run(tuple(array[order] for array in rows)), alone[order])
        assert np.abs(alone.astype(int) - generator.decode(z, labels)).max() <= 1


@pytest.mark.parametrize("model", ["bigan-digits", "vae-digits"], indirect=True)
def test_a_code_does_not_depend_on_what_came_along(model):
    work, source = Encoding(model), np.random.default_rng(0)
    images = model.generator.sample(12)
    alone = np.concatenate([work.run((images[i : i + 1],)) for i in range(12)])
    for _ in range(8):
        order = source.permutation(12)[: source.integers(1, min(12, work.chunk) + 1)]
        np.testing.assert_array_equal(work.run((images[order],)), alone[order])
    np.testing.assert_allclose(alone, model.generator.encode(images), rtol=1e-4, atol=1e-5)


def test_every_forward_has_one_shape(model, monkeypatch):
    shapes = []
    monkeypatch.setattr(Generator, "decode", lambda self, z, labels, truncation: shapes.append(len(z)) or z)
    z, labels = model.generator.latents(model.chunk), model.generator.classes(model.chunk)
    for n in (1, model.chunk):
        Decoding(model).run((z[:n],) if labels is None else (z[:n], labels[:n]))
    assert shapes == [model.chunk] * 2


def test_a_chunk_is_a_power_of_two_within_what_the_generator_takes_at_once(model):
    assert model.chunk in (1, 2, 4, 8, 16, 32, 64)
    assert model.chunk <= min(MOST, model.generator.batch)


def test_a_net_that_costs_more_has_smaller_chunks(packaged):
    narrow, wide = (model_of(packaged("biggan-digits", {"g_width": width, "d_width": 8})) for width in (8, 48))
    assert wide.chunk < narrow.chunk
