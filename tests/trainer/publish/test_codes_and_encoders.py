"""Packages of the families with codes and encoders: the engine's latents and images, and MLflow's way to them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from trainer.checksums import verify_checksums
from trainer.engine.pixels import from_bytes
from trainer.engine.sampling import draw, sample, set_code
from trainer.publish import build_package
from trainer.publish.portable.generator import Generator
from trainer.spec import Publish


def model_of(published):
    import mlflow

    return mlflow.pyfunc.load_model(str(published.folder))


@pytest.fixture(scope="module")
def infogan(coded):
    return model_of(coded)


@pytest.fixture(scope="module")
def bigan(encoding):
    return model_of(encoding)


@pytest.mark.parametrize("truncation", [None, 0.4])
@pytest.mark.parametrize("codes", [{}, {"c1": 3, "c4": [0.5, -2.0, 0.0, 1.0, 0.25]}])
def test_engine_and_package_draw_the_same_latents_codes_included(coded, truncation, codes):
    arch, family = coded.spec.arch, coded.state.family
    ours, _ = draw(family, arch, n=5, seed=11, truncation=truncation, start=30)
    for name, values in codes.items():
        set_code(ours, arch, name, values)
    generator, options = Generator(coded.folder), {"seed": 11, "truncation": truncation, "start": 30, "codes": codes}
    np.testing.assert_array_equal(generator.latents(5, **options), ours.numpy())
    images = sample(family, arch, coded.state.generator, n=5, **options)
    np.testing.assert_array_equal(generator.sample(n=5, **options), images)


def test_the_package_encodes_and_decodes_as_the_averaged_nets_do(encoding):
    state, arch, generator = encoding.state, encoding.spec.arch, Generator(encoding.folder)
    images = encoding.dataset.images(range(300))[0]  # two batches
    x = from_bytes(images, arch.pixel_range)
    with torch.inference_mode():
        z = state.averages["E"].eval()(x)
    found = generator.encode(images.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(found, z.numpy(), rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        again = state.averages["G"].eval()(z, None)
    low, high = arch.pixel_range
    expected = (again - low) / (high - low) * 255.0
    assert np.abs(generator.decode(found).astype(float) - expected.permute(0, 2, 3, 1).numpy()).max() <= 1.0


def test_config_and_card_say_what_codes_there_are_and_how_to_use_them(coded):
    config = json.loads((coded.folder / "config.json").read_text())
    assert [(code["name"], code["kind"], code["column"], code["size"]) for code in config["codes"]] == [
        ("c1", "categorical", 5, 10), ("c2", "categorical", 15, 3), ("c3", "continuous", 18, 1), ("c4", "continuous", 19, 1),
    ]  # fmt: skip
    assert config["width"] == 20
    assert config["encoder"] is False
    card = (coded.folder / "card.md").read_text()
    for expected in ("| `c1` | categorical | 0 … 9 |", "| `c4` | continuous | -1 … 1 |", '"c1": 0', "--traverse c1"):
        assert expected in card
    assert "encode" not in card


def test_config_and_card_say_that_there_is_an_encoder_and_how_to_use_it(encoding):
    assert json.loads((encoding.folder / "config.json").read_text())["encoder"] is True
    card = (encoding.folder / "card.md").read_text()
    for expected in ('model.predict({"encode": images})', 'model.predict({"z": z})', "--encode", "encoder"):
        assert expected in card
    assert "--traverse" not in card


def test_the_snippets_of_the_cards_run(coded, encoding, monkeypatch, tmp_path):
    for published in (coded, encoding):
        monkeypatch.chdir(published.folder)
        snippets = (published.folder / "card.md").read_text().split("```python\n")[1:]
        code = "\n".join(part.split("```")[0] for part in snippets).replace('"path/to/this/folder"', repr("."))
        exec(compile(code, "card.md", "exec"), {})


def test_an_encoder_that_is_not_wanted_is_not_published(encoding, tmp_path):
    state = encoding.state
    spec, state.spec = state.spec, state.spec.replace(publish=Publish(model="m", encoder=False))
    try:
        folder = build_package(
            state, tmp_path / "m", dataset=encoding.dataset, scores={}, provenance={}, lineage=encoding.lineage
        )
    finally:
        state.spec = spec
    verify_checksums(folder)
    assert not list(folder.glob("encoder.*"))
    assert "encode" not in (folder / "card.md").read_text().split("## Spec")[0]
    with pytest.raises(ValueError, match="has no encoder in this package"):
        Generator(folder).encode(np.zeros((1, 8, 8, 1), np.uint8))


def test_mlflow_takes_codes_by_name_as_a_mapping_in_a_dataframe_and_as_params(coded, infogan):
    import pandas as pd

    expected = Generator(coded.folder).sample(n=4, seed=3, start=2, codes={"c1": 7, "c4": -0.5})
    base = {"n": 4, "seed": 3, "start": 2}
    for given in (
        {**base, "c1": 7, "c4": -0.5},
        {**base, "codes": {"c1": 7, "c4": -0.5}},
        {**base, "c1": np.int64(7), "codes": {"c4": np.array(-0.5)}},
        {**base, "c1": [7, 7, 7, 7], "c4": np.full(4, -0.5)},
        pd.DataFrame([{**base, "c1": 7, "c4": -0.5, "c2": np.nan}]),
    ):
        np.testing.assert_array_equal(infogan.predict(given), expected)
    np.testing.assert_array_equal(infogan.predict({}, params={**base, "c1": 7.0, "c4": -0.5}), expected)
    np.testing.assert_array_equal(infogan.predict({"c1": 7}, params={**base, "c1": 1.0, "c4": -0.5}), expected)
    assert len(infogan.predict({"c1": list(range(10))})) == 10


def test_mlflow_encodes_images_and_decodes_latents(encoding, bigan):
    import pandas as pd

    generator = Generator(encoding.folder)
    images = generator.sample(n=3)
    z = bigan.predict({"encode": images})
    np.testing.assert_array_equal(z, generator.encode(images))
    np.testing.assert_array_equal(bigan.predict({"encode": images.tolist()}), z)  # as JSON brings them
    np.testing.assert_array_equal(bigan.predict(pd.DataFrame({"encode": [images]})), z)
    np.testing.assert_array_equal(bigan.predict({"z": z}), generator.decode(z))
    np.testing.assert_array_equal(bigan.predict({"z": z.tolist()}, params={"seed": 4}), generator.decode(z))
    assert bigan.metadata.signature.params is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"c5": 1}, "unknown c5; known are n, seed, labels, truncation, start, codes, c1, c2, c3, c4, z"),
        ({"c1": 11}, r"code c1 is 11; give whole numbers in \[0, 10\)"),
        ({"c1": 1, "codes": {"c1": 2}}, "code c1 is given twice"),
        ({"codes": 3}, "codes is 3; give a mapping"),
        ({"codes": {"c9": 1}}, "codes has 'c9', but its codes are c1, c2, c3, c4"),
        ({"encode": [[1]]}, "unknown encode; this model has no encoder"),
        ({"z": [[1.0]]}, r"z has shape \[1, 1\]; give finite numbers \[n, 20\]"),
        ({"z": [[1.0] * 20], "seed": 1}, "seed can't be given together with z"),
        ({"labels": [1]}, "this model has no classes"),
        ({"start": -3}, "start is -3"),
    ],
)
def test_what_a_coded_model_can_not_is_named(infogan, given, message):
    with pytest.raises(ValueError, match=message):
        infogan.predict(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"c1": 1}, "unknown c1; known are n, seed, labels, truncation, start, z, encode"),
        ({"codes": {"c1": 1}}, "unknown codes; this model has no codes"),
        ({"encode": np.zeros((1, 9, 9, 1), np.uint8)}, r"images are uint8 \[1, 9, 9, 1\]; give uint8 \[n, 8, 8, 1\]"),
        ({"encode": np.zeros((1, 8, 8, 1), np.float32)}, "images are float32"),
        ({"encode": [[[[300]]]]}, "images are int64"),
        ({"encode": [[[1]], [[1], [2]]]}, "images that differ in size"),
        ({"encode": np.zeros((1, 8, 8, 1), np.uint8), "n": 3}, "n can't be given together with encode"),
    ],
)
def test_what_an_encoding_model_can_not_is_named(bigan, given, message):
    with pytest.raises(ValueError, match=message):
        bigan.predict(given)
