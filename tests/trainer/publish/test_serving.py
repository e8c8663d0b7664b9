"""MLflow's face of a package: bounded requests, one request a row, settings, and errors that reach the client."""

from __future__ import annotations

import json
import logging

import numpy as np
import pandas as pd
import pytest

from trainer.publish.mlflow_model import most_images
from trainer.publish.portable.generator import Generator


def model_of(published, **settings):
    import mlflow

    return mlflow.pyfunc.load_model(str(published.folder), **({"model_config": settings} if settings else {}))


@pytest.fixture(scope="module")
def classed(conditional):
    return model_of(conditional)


@pytest.fixture(scope="module")
def infogan(coded):
    return model_of(coded)


@pytest.fixture(scope="module")
def bigan(encoding):
    return model_of(encoding)


@pytest.mark.parametrize(
    "given",
    [
        {"n": 10**9},
        {"n": 10**400},  # beyond any float
        {"n": 1025},
        {"labels": [0] * 1025},
        {"z": np.zeros((1025, 100))},
        {"z": np.zeros((1025, 100)).tolist()},
        pd.DataFrame({"seed": range(1025)}),
    ],
)
def test_more_than_a_request_may_give_is_refused_at_once_with_the_ways_to_more(classed, given):
    with pytest.raises(ValueError, match=r"at most 1024; ask several times \(start = 1024.*max_images.*batches\(\)"):
        classed.predict(given)


def test_the_bound_counts_codes_and_images_to_encode_too(coded, encoding):
    with pytest.raises(ValueError, match="4 images are asked for at once, and this model gives at most 3"):
        model_of(coded, max_images=3).predict({"c1": [0, 1, 2, 3]})
    small = model_of(encoding, max_images=3)
    images = Generator(encoding.folder).sample(4)
    with pytest.raises(ValueError, match="at most 3"):
        small.predict({"encode": images})
    assert len(small.predict({"encode": images[:3]})) == 3


def test_the_bound_is_lower_where_images_are_large_and_can_be_raised(conditional):
    assert [most_images(28, 1), most_images(128, 3), most_images(256, 3), most_images(512, 3)] == [1024, 1024, 341, 85]
    assert len(model_of(conditional, max_images=1100).predict({"n": 1100})) == 1100
    with pytest.raises(ValueError, match="max_images is 0; give a whole number from 1 on"):
        model_of(conditional, max_images=0)


def test_each_row_of_a_frame_is_a_request_for_one_image(classed, conditional):
    rows = [
        {"seed": 3}, {"seed": 3, "start": 7}, {"seed": 4, "labels": 5}, {"truncation": 0.5, "seed": 3},
        {"truncation": 0.5, "labels": 2, "n": 1}, {"labels": "balanced", "start": 12},
    ]  # fmt: skip
    images = classed.predict(pd.DataFrame(rows))  # what a row leaves out is NaN there
    generator = Generator(conditional.folder)
    assert images.shape == (6, 8, 8, 1)
    for row, image in zip(rows, images, strict=True):
        assert np.abs(image.astype(int) - generator.sample(**{"n": 1, **row})[0]).max() <= 1


def test_a_thousand_seeds_are_a_column(classed, conditional):
    images = classed.predict(pd.DataFrame({"seed": range(300)}), params={"labels": [3]})
    assert images.shape == (300, 8, 8, 1)
    assert np.abs(images[299].astype(int) - Generator(conditional.folder).sample(1, 299, 3)[0]).max() <= 1


def test_rows_take_codes(infogan, coded):
    images = infogan.predict(pd.DataFrame({"c1": [0, 7, np.nan], "codes": [{"c4": 0.5}, None, None], "seed": 2}))
    generator = Generator(coded.folder)
    for image, codes in zip(images, ({"c1": 0, "c4": 0.5}, {"c1": 7}, {}), strict=True):
        assert np.abs(image.astype(int) - generator.sample(1, 2, codes=codes)[0]).max() <= 1


def test_rows_encode_and_decode(bigan, encoding):
    generator = Generator(encoding.folder)
    images = generator.sample(5)
    z = bigan.predict(pd.DataFrame({"encode": list(images)}))
    assert (z.dtype, z.shape) == (np.float32, (5, encoding.spec.arch.latent.width))
    np.testing.assert_array_equal(z, generator.encode(images))
    nested = pd.DataFrame({"encode": [image.tolist() for image in images]})  # as JSON brings them
    np.testing.assert_array_equal(bigan.predict(nested), z)
    np.testing.assert_array_equal(bigan.predict(pd.DataFrame({"z": list(z)})), generator.decode(z))
    np.testing.assert_array_equal(bigan.predict(pd.DataFrame({"z": z.tolist()})), generator.decode(z))


def test_rows_of_latents_keep_their_labels_and_truncations(classed, conditional):
    z = Generator(conditional.folder).latents(3)
    frame = pd.DataFrame({"z": list(z), "labels": [1, 2, 3], "truncation": [0.5, np.nan, 0.5]})
    expected = Generator(conditional.folder).decode(z, [1, 2, 3])
    assert np.abs(classed.predict(frame).astype(int) - expected).max() <= 1


def test_rows_take_their_classes_by_name(classed):
    numbered, named = (pd.DataFrame({"seed": [1, 2, 3], "labels": labels}) for labels in ([7, 2, 7], ["7", "2", "7"]))
    np.testing.assert_array_equal(classed.predict(named), classed.predict(numbered))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"n": 2}, {"n": 1}], "row 0: n is 2; of several rows each gives one image"),
        ([{"seed": 1}, {"labels": 11}], r"row 1: labels holds 11; give numbers in \[0, 10\)"),
        ([{"seed": 1}, {"labels": [1, 2]}], "row 1: labels has 2 entries but n is 1"),
        ([{"z": [0.0] * 100, "labels": 1}, {"seed": 1}], "some rows ask for samples and others for z"),
        ([{"z": [0.0] * 100}, {"z": [0.0] * 100}], "row 0: labels is missing"),
        ([{"z": [0.0] * 100, "labels": 1}, {"z": [0.0] * 100, "labels": "balanced"}], "give each row of z its class"),
        ([{"z": [[0.0] * 100] * 2, "labels": 1}] * 2, r"row 0: has shape \[2, 100\]; of several rows each gives one"),
        ([{"sed": 1}, {"sed": 2}], "row 0 has unknown sed"),
    ],
)
def test_what_is_wrong_in_a_row_is_named_with_its_number(classed, rows, message):
    with pytest.raises(ValueError, match=message):
        classed.predict(pd.DataFrame(rows))


def test_a_frame_without_rows_is_refused(classed):
    with pytest.raises(ValueError, match="has no rows"):
        classed.predict(pd.DataFrame({"seed": []}))


def test_settings_come_by_model_config_or_the_environment_and_wrong_ones_are_named(conditional, monkeypatch):
    half = model_of(conditional, dtype="bfloat16")
    exact = Generator(conditional.folder).sample(4)
    difference = np.abs(half.predict({"n": 4}).astype(int) - exact)
    assert 0 < difference.max() < 64
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", json.dumps({"device": "tpu"}))  # for `mlflow models serve`
    with pytest.raises(ValueError, match="device is 'tpu', which torch can't use here"):
        model_of(conditional)


def test_loading_in_a_newer_environment_warns_of_nothing(conditional, monkeypatch, caplog):
    import mlflow.utils.requirements_utils as requirements

    known = requirements._get_installed_version
    newer = {"mlflow": "3.999.0", "torch": "2.999.0", "numpy": "2.999.0"}
    monkeypatch.setattr(
        requirements, "_get_installed_version", lambda name, module=None: newer.get(name) or known(name)
    )
    monkeypatch.setattr(logging.getLogger("mlflow"), "propagate", True)
    model_of(conditional)
    assert "mismatch" not in caplog.text
    newer["mlflow"] = "4.0.0"
    model_of(conditional)
    assert "mlflow (current: 4.0.0, required: mlflow<4" in caplog.text


def test_mlflows_server_answers_with_our_sentence_and_no_traceback(classed):
    """As its endpoint does it: 400, and the error's JSON."""
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import invocations

    def ask(body):
        return invocations(json.dumps(body).encode(), "application/json", classed, None)

    with pytest.raises(MlflowException) as caught:
        ask({"inputs": {"labels": [11]}})
    assert caught.value.get_http_status_code() == 400
    answer = caught.value.serialize_as_json()
    assert "labels holds 11; give numbers in [0, 10)" in answer
    assert "Traceback" not in answer
    rows = json.loads(ask({"dataframe_records": [{"seed": 1}, {"seed": 2}]}).response)["predictions"]
    assert np.array(rows).shape == (2, 8, 8, 1)
