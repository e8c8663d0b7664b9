"""Any number of images comes in batches; a package runs on the device and in the type that it is asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from publish_doubles import CODED, make_package, shown_labels
from safetensors.torch import save_file

from trainer.families.arch import Latent
from trainer.publish.portable import generator as portable
from trainer.publish.portable import nets
from trainer.publish.portable.generator import Generator
from trainer.publish.program import export_program


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return Generator(make_package(tmp_path_factory.mktemp("m") / "labelled", Latent(dim=3), classes=4))


@pytest.fixture(scope="module")
def showing(tmp_path_factory):
    return Generator(make_package(tmp_path_factory.mktemp("m") / "coded", CODED))


def test_batches_are_the_samples_in_order_whatever_their_size(showing, labelled):
    codes = {"c1": [0, 1, 2, 3, 4, 0, 1], "c2": 0.5}
    whole = showing.sample(seed=3, start=5, truncation=0.7, codes=codes)
    for size in (1, 3, 7, 100):
        parts = list(showing.batches(seed=3, start=5, truncation=0.7, codes=codes, batch=size))
        assert [len(part) for part in parts] == [size] * (7 // size) + ([7 % size] if 7 % size else [])
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    for labels in (None, [3, 1, 2, 0, 1], 2, "balanced"):
        parts = list(labelled.batches(5, seed=3, start=5, labels=labels, batch=2))
        np.testing.assert_array_equal(np.concatenate(parts), labelled.sample(5, seed=3, start=5, labels=labels))


@pytest.mark.parametrize("labels", [None, 1, "balanced"])
def test_an_endless_number_of_images_begins_at_once(labelled, labels):
    """Nothing is drawn, and nothing of that length held, for the images behind the batch at hand."""
    stream = labelled.batches(10**15, seed=1, labels=labels, batch=4)
    taken = np.concatenate(list(itertools.islice(stream, 2)))
    np.testing.assert_array_equal(taken, labelled.sample(8, seed=1, labels=labels))


def test_wrong_parameters_are_refused_before_the_first_batch_is_asked_for(labelled, showing):
    for wrong, message in (
        ({"n": 0}, "n is 0"),
        ({"n": 3, "labels": [1, 2]}, "labels has 2 entries but n is 3"),
        ({"n": 2, "labels": 4}, "labels holds 4"),
        ({"n": 2, "batch": 0}, "n is 0"),
        ({"n": 2, "start": -1}, "start is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            labelled.batches(**wrong)
    with pytest.raises(ValueError, match="code c1 has 2 values for 3 images"):
        showing.batches(3, codes={"c1": [1, 2]})


def test_balanced_labels_go_on_where_the_images_before_ended(labelled):
    """So that drawing in pieces gives each class as often as drawing at once."""
    whole = labelled.sample(11, seed=2, labels="balanced")
    np.testing.assert_array_equal(shown_labels(whole), np.arange(11) % 4)
    np.testing.assert_array_equal(labelled.sample(6, seed=2, start=5, labels="balanced"), whole[5:])
    assert len(labelled.sample(labels="balanced", start=3)) == 4


def test_a_batch_shrinks_where_images_are_large(labelled):
    assert labelled.batch == portable.BATCH
    sizes = {}
    for side in (128, 256, 512):
        labelled.config["resolution"], before = side, labelled.config["resolution"]
        sizes[side] = labelled.batch
        labelled.config["resolution"] = before
    assert sizes == {128: 256, 256: 64, 512: 16}


@pytest.mark.parametrize("fixture", ["conditional", "unconditional", "coded", "encoding"])
def test_half_precision_gives_almost_the_same_images_from_the_same_latents(request, fixture):
    package = request.getfixturevalue(fixture).folder
    exact, half = Generator(package), Generator(package, device="cpu", dtype="bfloat16")
    np.testing.assert_array_equal(exact.latents(4, seed=1), half.latents(4, seed=1))
    difference = np.abs(exact.sample(6, seed=1).astype(int) - half.sample(6, seed=1))
    assert difference.max() > 0, "bfloat16 was not used"
    assert difference.mean() < 3.0
    if exact.config["encoder"]:
        images = exact.sample(3)
        assert half.encode(images).dtype == np.float32
        np.testing.assert_allclose(half.encode(images), exact.encode(images), atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu9"}, "device is 'tpu9', which torch can't use here"),
        ({"device": "cuda:99"}, "give cpu, cuda, cuda:1, … or auto"),
        ({"dtype": "int8"}, "dtype is 'int8'; give float32, bfloat16, float16"),
    ],
)
def test_a_device_or_dtype_that_is_not_there_is_named_with_those_that_are(tmp_path, options, message):
    package = make_package(tmp_path / "m", Latent(dim=3))
    with pytest.raises(ValueError, match=message):
        Generator(package, **options)


def test_auto_is_the_gpu_if_there_is_one(tmp_path):
    package = make_package(tmp_path / "m", Latent(dim=3))
    assert Generator(package, device="auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def on_meta(package, name, weights, monkeypatch):
    """A net of the package on torch's device without numbers, where it fails that anything is left on the CPU."""
    read = nets.load_file
    monkeypatch.setattr(nets, "load_file", lambda path, device: {n: t.to(device) for n, t in read(path).items()})
    return nets.load_net(package / f"{name}.pt2", package / f"{weights}.safetensors", "meta")


@pytest.mark.parametrize("fixture", ["conditional", "unconditional", "coded", "encoding"])
def test_a_net_moves_whole_to_another_device(request, fixture, monkeypatch):
    """Programs are traced on the CPU, and one that makes a tensor says there where it lies."""
    made = request.getfixturevalue(fixture)
    arch, net = made.spec.arch, on_meta(made.folder, "program", "model", monkeypatch)
    labels = [torch.zeros(3, dtype=torch.int64, device="meta")] if arch.conditional else []
    images = net(torch.zeros(3, arch.latent.width, device="meta"), *labels)
    assert images.device.type == "meta"
    assert images.shape == (3, arch.channels, arch.resolution, arch.resolution)


class Making(torch.nn.Module):
    """A net that makes a tensor by itself, as attention masks and position codes do."""

    def forward(self, z):
        return z + torch.arange(z.shape[1], dtype=torch.float32, device=z.device)


def test_tensors_that_a_program_makes_move_too(tmp_path, monkeypatch):
    save_file({}, tmp_path / "model.safetensors")
    export_program(Making(), lambda n: (torch.zeros(n, 3),), tmp_path / "program.pt2")
    assert on_meta(tmp_path, "program", "model", monkeypatch)(torch.zeros(2, 3, device="meta")).device.type == "meta"
