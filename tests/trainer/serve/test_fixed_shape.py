"""An image's bytes are the same whatever else went through the net with it, and wherever in the chunk it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asking import model_of

from trainer.publish.portable.generator import Generator
from trainer.serve import work
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
    for sizes in {model.chunks, (4,)}:
        decoding = Decoding(Model(model.id, generator, 1, sizes, 1))
        alone = np.concatenate([decoding.run(tuple(array[i : i + 1] for array in rows)) for i in range(n)])
        for _ in range(8):
            order = source.permutation(n)[: source.integers(1, min(n, decoding.chunk) + 1)]
            np.testing.assert_array_equal(decoding.run(tuple(array[order] for array in rows)), alone[order])
        assert np.abs(alone.astype(int) - generator.decode(z, labels)).max() <= 1


@pytest.mark.parametrize("model", ["bigan-digits", "vae-digits"], indirect=True)
def test_a_code_does_not_depend_on_what_came_along(model):
    encoding, source = Encoding(model), np.random.default_rng(0)
    images = model.generator.sample(12)
    alone = np.concatenate([encoding.run((images[i : i + 1],)) for i in range(12)])
    for _ in range(8):
        order = source.permutation(12)[: source.integers(1, min(12, encoding.chunk) + 1)]
        np.testing.assert_array_equal(encoding.run((images[order],)), alone[order])
    np.testing.assert_allclose(alone, model.generator.encode(images), rtol=1e-4, atol=1e-5)


def test_a_forward_is_the_smallest_of_the_models_sizes_that_holds_its_rows(model, monkeypatch):
    sizes = []
    monkeypatch.setattr(Generator, "decode", lambda self, z, labels, truncation: sizes.append(len(z)) or z)
    most = model.chunks[-1]
    z, labels = model.generator.latents(most), model.generator.classes(most)
    for n in range(1, most + 1):
        rows = (z[:n],) if labels is None else (z[:n], labels[:n])
        assert len(Decoding(model).run(rows)) == n
    assert sizes == [min(size for size in model.chunks if size >= n) for n in range(1, most + 1)]


def test_sizes_are_powers_of_two_within_what_the_generator_takes_at_once(model):
    assert set(model.chunks) <= {1, 2, 4, 8, 16, 32, 64}
    assert list(model.chunks) == sorted(model.chunks)
    assert model.chunks[-1] <= min(MOST, model.generator.batch)


class Computing:
    """A generator whose rows have other bits in forwards of these sizes, in one row of all that are tried."""

    device, batch = torch.device("cpu"), 256

    def __init__(self, *different):
        self.different = different

    def forward(self, first, n):
        rows = np.arange(first, first + n, dtype=np.float32)
        return rows + np.float32(n in self.different) * (rows == 37)


@pytest.mark.parametrize(
    ("flops", "different", "expected"),
    [
        (1e7, (), (1, 2, 4, 8, 16, 32, 64)),
        (1e7, (1,), (2, 4, 8, 16, 32, 64)),
        (1e7, (1, 2, 4, 32), (8, 16, 64)),
        (1e7, (1, 2, 4, 8, 32, 64), (16,)),
        (1e9, (), (1, 2, 4)),
        (1e9, (1,), (1,)),
        (1e9, (4,), (1, 2)),
        (1e11, (), (1,)),
    ],
)
def test_sizes_are_those_that_give_the_same_bits_as_the_one_by_the_nets_cost(monkeypatch, flops, different, expected):
    monkeypatch.setattr(work, "_cost", lambda _: flops)
    generator = Computing(*different)
    assert work.chunks(generator, generator.forward) == expected


@pytest.mark.long
def test_a_net_that_costs_more_has_smaller_chunks(packaged):
    narrow, wide = (model_of(packaged("biggan-digits", {"g_width": width, "d_width": 8})) for width in (8, 48))
    assert wide.chunks[-1] < narrow.chunks[-1]
