"""A package samples exactly what the engine samples, anywhere, and holds neither pickles nor traces of its machine."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import os
import pickle
import pickletools
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from safetensors.torch import load_file

from trainer.checksums import verify_checksums, write_checksums
from trainer.engine.sampling import sample
from trainer.errors import TrainingError
from trainer.publish import build_package
from trainer.publish.card import _use, described, write_card
from trainer.publish.portable.generator import Generator
from trainer.publish.portable.nets import refuse_pickles
from trainer.spec import Publish

ISOLATED = """
import hashlib, json, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("trainer", "service", "mlflow"):
            raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, Block())
sys.path.insert(0, sys.argv[1])
from generator import Generator
images = Generator(sys.argv[1]).sample(n=9, seed=21)
print(hashlib.sha256(images.tobytes()).hexdigest())
"""


@pytest.fixture(params=["conditional", "unconditional"])
def published(request):
    return request.getfixturevalue(request.param)


def engine_images(published, **options):
    return sample(published.state.family, published.spec.arch, published.state.generator, **options)


def contents(package: Path) -> dict[str, bytes]:
    """Every published file, and every part of the program."""
    with zipfile.ZipFile(package / "program.pt2") as program:
        found = {entry: program.read(entry) for entry in program.namelist()}
    return found | {
        name: (package / name).read_bytes() for name in json.loads((package / "checksums.json").read_text())
    }


def is_pickle(content: bytes) -> bool:
    """Whether all of it is one pickle (a text may begin with bytes that are one)."""
    try:
        return [place for _, _, place in pickletools.genops(content)][-1] == len(content) - 1
    except (ValueError, IndexError):
        return False


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_the_package_samples_the_engines_images_bit_for_bit(published, n):
    """300 spans two batches."""
    ours = engine_images(published, n=n, seed=5)
    np.testing.assert_array_equal(Generator(published.folder).sample(n=n, seed=5), ours)


def test_so_it_does_with_labels_truncation_and_a_start(conditional):
    generator, labels = Generator(conditional.folder), [3, 1, 4, 1, 5]
    options = {"n": 5, "seed": 2, "truncation": 0.5, "start": 40}
    np.testing.assert_array_equal(
        generator.sample(labels=labels, **options), engine_images(conditional, labels=labels, **options)
    )


def test_image_i_depends_on_seed_and_i_alone(published):
    generator = Generator(published.folder)
    whole = generator.sample(n=8, seed=3).astype(int)
    assert np.abs(whole[5:] - generator.sample(n=3, seed=3, start=5)).max() <= 1  # another batch size rounds otherwise
    assert (generator.sample(n=8, seed=4) != whole).any()


@pytest.mark.long
def test_it_samples_without_the_project_and_without_mlflow(conditional, tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-c", ISOLATED, str(conditional.folder)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == hashlib.sha256(engine_images(conditional, n=9, seed=21).tobytes()).hexdigest()


def test_mlflow_loads_it_without_pickle_from_dict_dataframe_or_params(conditional, monkeypatch, recwarn):
    import mlflow
    import pandas as pd

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = mlflow.pyfunc.load_model(str(conditional.folder))
    expected = engine_images(conditional, n=4, seed=3)
    assert expected.dtype == np.uint8
    for given in ({"n": 4, "seed": 3}, pd.DataFrame([{"n": 4, "seed": 3}]), {"n": np.array([4]), "seed": np.int64(3)}):
        np.testing.assert_array_equal(model.predict(given), expected)
    np.testing.assert_array_equal(model.predict({}, params={"n": 4, "seed": 3}), expected)
    np.testing.assert_array_equal(model.predict({"n": 4}, params={"n": 9, "seed": 3}), expected)
    assert model.predict(pd.DataFrame({"labels": [[7, 8, 9]], "n": [np.nan]})).shape == (3, 8, 8, 1)
    assert model.predict({}).shape == (1, 8, 8, 1)
    assert model.metadata.signature.outputs is not None
    assert [str(warning.message) for warning in recwarn if "type hint" in str(warning.message)] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 2.5}, "n is 2.5"),
        ({"n": "many"}, "n is 'many'"),
        ({"n": float("inf")}, "n is inf"),
        ({"sed": 1}, "unknown sed; known are n, seed, labels, truncation"),
        ({"labels": [1, 10]}, r"labels holds 10; give numbers in \[0, 10\)"),
        ({"labels": [-1]}, "labels holds -1"),
        ({"labels": [1, 2], "n": 3}, "labels has 2 entries but n is 3"),
        ({"labels": "all"}, "labels holds 'all'; give"),
        ({"truncation": 0}, "truncation is 0"),
        ({"truncation": "half"}, "truncation is 'half'"),
        ([1, 2], "the input is a list"),
    ],
)
def test_wrong_parameters_are_named_with_what_is_possible(conditional, given, message):
    import mlflow

    model = mlflow.pyfunc.load_model(str(conditional.folder))
    with pytest.raises(ValueError, match=message):
        model.predict(given)


def test_labels_and_truncation_are_refused_where_the_model_has_none(unconditional):
    generator = Generator(unconditional.folder)
    with pytest.raises(ValueError, match="has no classes"):
        generator.sample(n=2, labels=[0, 1])
    with pytest.raises(ValueError, match="prior is uniform"):
        generator.sample(n=2, truncation=0.7)


def test_balanced_labels_go_round_the_classes(conditional):
    generator = Generator(conditional.folder)
    np.testing.assert_array_equal(
        generator.sample(n=12, labels="balanced"), generator.sample(n=12, labels=[*range(10), 0, 1])
    )
    assert generator.sample(labels="balanced").shape[0] == 10
    np.testing.assert_array_equal(generator.sample(n=3, labels=4), generator.sample(labels=[4, 4, 4]))


def test_truncated_latents_lie_within_the_limit(conditional):
    generator = Generator(conditional.folder)
    assert np.abs(generator.latents(50, truncation=0.3)).max() <= np.float32(0.3)


def test_weights_lie_once_and_are_the_moving_averages(conditional):
    weights = load_file(conditional.folder / "model.safetensors")
    theirs = conditional.state.generator.state_dict()
    assert weights.keys() == theirs.keys()
    assert all(torch.equal(weights[name], theirs[name]) for name in weights)
    with zipfile.ZipFile(conditional.folder / "program.pt2") as program:
        held = [entry.file_size for entry in program.infolist() if "/weights/weight_" in entry.filename]
    assert held
    assert max(held) <= 8


def test_nothing_in_the_package_is_a_pickle(published):
    refuse_pickles(published.folder / "program.pt2")
    assert is_pickle(pickle.dumps({"a": 1}))
    assert [name for name, content in contents(published.folder).items() if is_pickle(content)] == []


def test_a_program_that_holds_a_pickle_is_refused(conditional, tmp_path):
    altered = tmp_path / "model"
    shutil.copytree(conditional.folder, altered)
    with zipfile.ZipFile(altered / "program.pt2", "a") as program:
        program.writestr("program/data/weights/model.pt", b"pickle")
    with pytest.raises(ValueError, match="is code or a pickle"):
        Generator(altered)


def test_no_path_of_this_machine_is_in_the_package(published):
    here = [str(Path(__file__).parents[3]), str(Path.home()), str(published.folder.parent)]
    for name, content in contents(published.folder).items():
        assert not [path for path in here if path.encode() in content], name


def test_the_card_says_how_good_what_and_where_from(conditional):
    card = (conditional.folder / "card.md").read_text()
    for expected in (
        "12.5",
        "![samples](samples.png)",
        "job-7",
        "e" * 64,
        conditional.dataset.manifest.digest,
        "family: dcgan",
    ):
        assert expected in card
    record = json.loads((conditional.folder / "scores.json").read_text())
    assert record["scores"] == {"fid": 12.5}
    assert record["lineage"]["job_id"] == "job-7"
    assert (conditional.folder / "samples.png").stat().st_size > 500


def test_the_card_names_the_classes_where_they_have_names(conditional, tmp_path):
    manifest = conditional.dataset.manifest.model_copy(update={"classes": ("cat", "a dog", *map(str, range(2, 10)))})
    write_card(tmp_path / "named.md", conditional.spec, manifest, {}, {}, conditional.lineage)
    assert "0 cat, 1 a dog, 2 2" in (tmp_path / "named.md").read_text()
    assert "## Classes" not in (conditional.folder / "card.md").read_text(), "digits are called by their numbers"


def test_an_error_names_the_classes_where_they_have_names(conditional, tmp_path):
    generator = Generator(conditional.folder)
    generator.config["class_names"] = ["cat", "a dog", *map(str, range(2, 10))]
    with pytest.raises(ValueError, match=r"labels holds 12; give names, or numbers in \[0, 10\): 0 cat, 1 a dog, 2 2"):
        generator.sample(labels=[12])
    with pytest.raises(ValueError, match=r"labels holds 'kat'; give names, or numbers in \[0, 10\): 0 cat, 1 a dog"):
        generator.sample(labels="kat")


def test_classes_are_given_by_name_wherever_they_are_given_by_number(conditional):
    generator = Generator(conditional.folder)
    generator.config["class_names"] = ["cat", "a dog", *map(str, range(2, 10))]
    by_number = generator.sample(labels=[1, 0, 7])
    for given in (["a dog", "cat", 7], ("a dog", "0", "7"), np.array(["a dog", "cat", "7"])):
        np.testing.assert_array_equal(generator.sample(labels=given), by_number)
    np.testing.assert_array_equal(generator.sample(2, labels="a dog"), generator.sample(2, labels=1))
    z = generator.latents(2)
    np.testing.assert_array_equal(generator.decode(z, ["cat", "a dog"]), generator.decode(z, [0, 1]))


def test_the_registrys_description_links_no_picture_that_is_not_there(conditional):
    text = described((conditional.folder / "card.md").read_text(), "model")
    assert "](" not in text
    assert "`model/samples.png`" in text
    assert len(described("x" * 9000, "model")) == 5000


def test_the_cards_snippet_says_which_server_has_the_model(conditional):
    published = _use(conditional.spec.replace(publish=Publish(model="demo")))
    code = published.split("```python\n")[1].split("```")[0]
    names = [node.func.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert names == ["set_tracking_uri", "load_model", "predict"]
    assert "models:/demo@champion" in code
    assert "set_tracking_uri" not in _use(conditional.spec), "a folder needs no server"


def test_requirements_are_ranges_that_later_releases_meet_and_without_the_project(conditional):
    """MLflow compares them with what is installed at each load, and warns."""
    from mlflow.utils.requirements_utils import _check_requirement_satisfied

    lines = (conditional.folder / "requirements.txt").read_text().split()
    assert {Requirement(line).name for line in lines} == {"torch", "numpy", "safetensors", "mlflow"}
    assert [line for line in lines if _check_requirement_satisfied(line)] == []
    for line in lines:
        for later in ("2.99.9", "3.99.9", "0.99.9"):
            major = later.partition(".")[0]
            assert Requirement(line).specifier.contains(later) == (f"<{int(major) + 1}" in line), line
    assert {line.strip(" -") for line in (conditional.folder / "conda.yaml").read_text().splitlines()} >= set(lines)
    made_with = json.loads((conditional.folder / "config.json").read_text())["made_with"]
    assert made_with["mlflow"] == version("mlflow")


def test_an_altered_or_missing_file_is_found(conditional, tmp_path):
    copied = tmp_path / "model"
    shutil.copytree(conditional.folder, copied)
    verify_checksums(copied)
    (copied / "model.safetensors").write_bytes(b"x" + (copied / "model.safetensors").read_bytes()[1:])
    (copied / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json, model\.safetensors missing or altered"):
        verify_checksums(copied)


class Skewed:
    """A family whose latents config.json does not describe."""

    draws_by_the_prior = False

    def __init__(self, family):
        self._family = family

    def latents(self, arch, n, generator):
        return self._family.latents(arch, n, generator) * 2.0

    def labels(self, arch, n, generator):
        return self._family.labels(arch, n, generator)


def test_a_package_that_would_sample_other_images_is_not_published(conditional, tmp_path):
    state = copy.copy(conditional.state)
    state.family = Skewed(state.family)
    with pytest.raises(TrainingError, match="samples other images than the engine"):
        build_package(
            state,
            tmp_path / "model",
            dataset=conditional.dataset,
            scores={},
            provenance={},
            lineage=conditional.lineage,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_new_package_replaces_the_old_one_whole(conditional, tmp_path):
    out = tmp_path / "model"
    out.mkdir()
    (out / "stale").touch()
    build_package(
        conditional.state, out, dataset=conditional.dataset, scores={}, provenance={}, lineage=conditional.lineage
    )
    verify_checksums(out)
    assert not (out / "stale").exists()
    write_checksums(out)
