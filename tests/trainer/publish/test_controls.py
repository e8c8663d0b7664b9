"""What a generator can be asked for: codes, latents, encoding; and what is said where it can't."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from publish_doubles import CODED, SIZE, STEP, make_package, shown, shown_labels

from trainer.families.arch import Latent
from trainer.publish.controls import controls
from trainer.publish.portable.generator import Generator


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    return Generator(make_package(tmp_path_factory.mktemp("coded") / "m", CODED))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return Generator(make_package(tmp_path_factory.mktemp("labelled") / "m", Latent(dim=3), classes=4))


@pytest.fixture(scope="module")
def encoding(tmp_path_factory):
    return Generator(make_package(tmp_path_factory.mktemp("encoding") / "m", Latent(dim=6), encoder=True))


def test_a_code_that_is_set_changes_its_own_columns_and_no_other(coded):
    drawn, asked = coded.latents(6, seed=3), coded.latents(6, seed=3, codes={"c1": 2, "c3": [0, 1, 2, 3, -4, 5]})
    np.testing.assert_array_equal(asked[:, 4:9], np.tile(np.eye(5)[2], (6, 1)))
    np.testing.assert_array_equal(asked[:, 10], [0, 1, 2, 3, -4, 5])
    np.testing.assert_array_equal(np.delete(asked, [4, 5, 6, 7, 8, 10], 1), np.delete(drawn, [4, 5, 6, 7, 8, 10], 1))


def test_drawn_codes_are_one_hots_of_every_value_and_uniform_numbers(coded):
    z = coded.latents(400)
    assert set(np.unique(z[:, 4:9])) == {0.0, 1.0}
    assert (z[:, 4:9].sum(axis=1) == 1).all()
    assert z[:, 4:9].mean(axis=0) == pytest.approx(np.full(5, 0.2), abs=0.08)
    assert np.abs(z[:, 9:]).max() <= 1
    assert np.histogram(z[:, 9], bins=4, range=(-1, 1))[0].min() > 70


def test_truncation_is_of_the_noise_alone(coded):
    free, cut = coded.latents(50, seed=1), coded.latents(50, seed=1, truncation=0.2)
    assert np.abs(cut[:, :4]).max() <= 0.2
    np.testing.assert_array_equal(free[:, 4:], cut[:, 4:])
    assert np.abs(cut[:, 9:]).max() > 0.2


def test_samples_are_the_decoded_latents_wherever_they_start(coded, labelled):
    codes = {"c1": [0, 1, 2, 3, 4]}
    z = coded.latents(5, seed=9, start=7, codes=codes)
    np.testing.assert_array_equal(coded.sample(seed=9, start=7, codes=codes), coded.decode(z))
    np.testing.assert_allclose(shown(coded.decode(z), 11), np.clip(z, -4, 4), atol=STEP)
    whole = labelled.sample(n=9, seed=2)
    np.testing.assert_array_equal(labelled.sample(n=4, seed=2, start=5), whole[5:])
    np.testing.assert_array_equal(shown_labels(whole), labelled.labels(9, seed=2))


def test_the_number_of_images_follows_from_the_codes_or_the_labels(coded, labelled):
    assert len(coded.sample(codes={"c2": [0.1, 0.2, 0.3], "c1": 1})) == 3
    assert len(coded.sample(codes={"c1": 1})) == 1
    assert shown_labels(labelled.sample(n=3, labels=2)).tolist() == [2, 2, 2]
    assert shown_labels(labelled.decode(np.zeros((3, 3)), labels=[3, 0, 1])).tolist() == [3, 0, 1]


def test_a_code_can_be_changed_in_given_latents_which_stay_as_they_are(coded):
    z = coded.latents(3)
    before = z.copy()
    assert coded.with_codes(z, {"c2": 1.5})[:, 9].tolist() == [1.5] * 3
    np.testing.assert_array_equal(z, before)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({"c4": 1}, r"codes has 'c4', but its codes are c1, c2, c3"),
        ({"c1": 5}, r"code c1 is 5; give whole numbers in \[0, 5\)"),
        ({"c1": -1}, "code c1 is -1"),
        ({"c1": 1.5}, "code c1 is 1.5; give whole numbers"),
        ({"c1": "three"}, "code c1 is 'three'; give a number"),
        ({"c2": float("nan")}, "code c2 is nan"),
        ({"c2": [[1.0], [2.0, 3.0]]}, "code c2 is"),
        ({"c2": []}, "code c2 is"),
        ({"c2": None}, "code c2 is None"),
        ({"c2": [1.0, 2.0]}, "code c2 has 2 values for 3 images; give one, or as many"),
        ([1], "codes is .1.; give a mapping"),
    ],
)
def test_a_code_that_can_not_be_is_named_with_what_can(coded, codes, message):
    with pytest.raises(ValueError, match=message):
        coded.sample(n=3, codes=codes)


def test_a_model_without_codes_says_so(labelled):
    with pytest.raises(ValueError, match="this model has no codes"):
        labelled.sample(n=1, codes={"c1": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"start": -1}, "start is -1"), ({"start": 0.5}, "start is 0.5"), ({"truncation": 1e-9}, "truncation is 1e-09")],
)
def test_other_parameters_that_can_not_be_are_named(coded, options, message):
    with pytest.raises(ValueError, match=message):
        coded.sample(n=2, **options)


def test_what_is_encoded_is_decoded_again(encoding):
    images = encoding.sample(n=300, seed=1)  # two batches
    z = encoding.encode(images)
    assert z.shape == (300, 6)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, np.clip(encoding.latents(300, seed=1), -4, 4), atol=STEP)
    np.testing.assert_array_equal(encoding.decode(z), images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 9, 9, 1), np.uint8), rf"images are uint8 \[2, 9, 9, 1\]; give uint8 \[n, {SIZE}, {SIZE}, 1\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), "give uint8"),
        (np.zeros((8, 8, 1), np.uint8), "give uint8"),
        (np.zeros((2, 8, 8, 1)), "images are float64"),
        (np.zeros((0, 8, 8, 1), np.uint8), r"images are uint8 \[0, 8, 8, 1\]"),
    ],
)
def test_images_that_can_not_be_encoded_are_described(encoding, images, message):
    with pytest.raises(ValueError, match=message):
        encoding.encode(images)


def test_a_model_without_an_encoder_says_so(coded):
    with pytest.raises(ValueError, match="family double has no encoder in this package"):
        coded.encode(np.zeros((1, 8, 8, 1), np.uint8))


@pytest.mark.parametrize(
    "z", [np.zeros(6), np.zeros((2, 5)), np.zeros((0, 6)), np.full((1, 6), np.nan), "z", [["a"] * 6]]
)
def test_latents_that_can_not_be_are_described(encoding, z):
    with pytest.raises(ValueError, match=r"z (has shape|is a).*\[n, 6\]"):
        encoding.decode(z)


def test_given_latents_of_a_conditional_model_need_their_labels(labelled):
    with pytest.raises(ValueError, match="labels is missing"):
        labelled.decode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="labels has 3 entries but z has 2"):
        labelled.decode(np.zeros((2, 3)), labels=[0, 1, 2])


def drawn_of_old(seed, purpose, i):
    """The source of image i in packages of formats 1 to 3."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{i}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def test_packages_of_older_formats_are_still_read_and_draw_the_images_that_they_drew(tmp_path):
    """Also their balanced labels, which begin at class 0 wherever they start."""
    folder = make_package(tmp_path / "m", Latent(dim=3), classes=4)
    config = json.loads((folder / "config.json").read_text()) | {"format": 1}
    for name in ("width", "codes", "encoder", "draws"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    old = Generator(folder)
    z = torch.cat([torch.randn(1, 3, generator=drawn_of_old(8, "sample", i)) for i in range(2, 7)]).numpy()
    np.testing.assert_array_equal(old.latents(5, seed=8, start=2), z)
    y = [int(torch.randint(4, (1,), generator=drawn_of_old(8, "sample-label", i))) for i in range(2, 7)]
    np.testing.assert_array_equal(old.labels(5, seed=8, start=2), y)
    np.testing.assert_array_equal(old.sample(n=5, seed=8, start=2), old.decode(z, y))
    np.testing.assert_array_equal(shown_labels(old.sample(n=5, labels="balanced", start=2)), [0, 1, 2, 3, 0])
    source = drawn_of_old(8, "sample", 1)
    cut = torch.randn(1, 3, generator=source)
    while bool((outside := cut.abs() > 0.5).any()):
        cut = torch.where(outside, torch.randn(1, 3, generator=source), cut)
    np.testing.assert_array_equal(old.latents(1, seed=8, start=1, truncation=0.5), cut)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 5}, "is of format 5, this loader reads up to 4"), ({"draws": 3}, "draws by scheme 3, this loader")],
)
def test_packages_of_the_future_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        Generator(make_package(tmp_path / "m", Latent(dim=3), **change))


CONFIG = {"family": "infogan", "codes": [vars(code) for code in CODED.codes]}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("c1=3", [3]),
        ("c1=0,4", [0, 4]),
        ("c1=1..4", [1, 2, 3, 4]),
        ("c2=-1:1:5", [-1, -0.5, 0, 0.5, 1]),
        ("c2=-0.25", [-0.25]),
    ],
)
def test_values_of_a_code_are_written_one_by_one_as_a_range_or_as_steps(text, values):
    asked = controls(CONFIG, [text], [])
    name = text[:2]
    if len(values) == 1:
        assert (dict(asked.fixed), asked.varied) == ({name: values[0]}, ())
    else:
        (axis,) = asked.varied
        assert axis.code == name
        assert list(axis.values) == pytest.approx(values)


def test_a_traversal_goes_over_all_values_or_from_minus_two_to_two():
    categorical, continuous = controls(CONFIG, [], ["c1", "c2"]).varied
    assert categorical.values == (0, 1, 2, 3, 4)
    assert continuous.values == pytest.approx(np.linspace(-2, 2, 10))


@pytest.mark.parametrize(
    ("codes", "traversed", "message"),
    [
        (["c1"], [], "--code c1: is not understood"),
        (["c1="], [], "is not understood"),
        (["=3"], [], "is not understood"),
        (["c1=a"], [], "write NAME=3"),
        (["c1=4..1"], [], "is not understood"),
        (["c1=0..99999"], [], "is not understood"),
        (["c2=0:1"], [], "is not understood"),
        (["c2=0:1:0"], [], "is not understood"),
        (["c9=1"], [], "code 'c9' is asked for, but its codes are c1, c2, c3"),
        ([], ["z"], "code 'z' is asked for"),
        (["c1=3"], ["c1"], "code c1 is named twice"),
        (["c1=0,1"], ["c2", "c3"], "c1, c2, c3 vary; a picture has room for two"),
    ],
)
def test_what_is_asked_wrongly_is_said_with_the_right_way(codes, traversed, message):
    with pytest.raises(ValueError, match=message):
        controls(CONFIG, codes, traversed)


def test_codes_of_a_family_without_any_name_the_family():
    with pytest.raises(ValueError, match="family dcgan has no latent codes; families that have: infogan"):
        controls({"family": "dcgan", "codes": []}, ["c1=1"], [])
