"""A package normalises truncated samples by statistics of truncated samples."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import truncnorm
from typer.testing import CliRunner

from trainer.engine.sampling import sample
from trainer.engine.standing import standing
from trainer.engine.state import TrainState
from trainer.publish import build_package
from trainer.publish.__main__ import app
from trainer.publish.files import load_latents, save_latents
from trainer.publish.package import THRESHOLDS
from trainer.publish.portable.generator import Generator, variance


@pytest.fixture(scope="module")
def made(conditional, tmp_path_factory):
    """A DCGAN whose norms have standing statistics."""
    spec = conditional.spec.replace(evaluation=conditional.spec.evaluation.replace(standing_batches=4))
    state, folder = TrainState.create(spec, conditional.distributed), tmp_path_factory.mktemp("standing") / "model"
    curve = [{"truncation": limit, "precision": 0.9, "saturated": 0.25} for limit in (0.5, None)]
    provenance = {"truncation_curve": curve, "truncation_verdict": "Amenable to truncation."}
    given = {"scores": {}, "provenance": provenance, "lineage": conditional.lineage}
    build_package(state, folder, dataset=conditional.dataset, **given)
    return SimpleNamespace(spec=spec, state=state, folder=folder)


def ours(made, truncation, statistics):
    """What the engine samples at `truncation`, with the statistics of another one."""
    net = standing(made.state.family, made.spec, made.state.generator, statistics)
    return sample(made.state.family, made.spec.arch, net, n=32, seed=3, truncation=truncation).astype(np.int16)


@pytest.mark.parametrize("truncation", [None, 0.5, 2.0])
def test_at_a_threshold_of_the_table_it_samples_as_the_engine_does(made, truncation) -> None:
    found = Generator(made.folder).sample(n=32, seed=3, truncation=truncation)
    assert np.abs(found - ours(made, truncation, truncation)).max() <= 1


@pytest.mark.parametrize("truncation", [0.1, 0.4, 0.6, 1.2, 3.0])
def test_between_two_thresholds_it_is_nearer_to_the_engine_than_with_other_statistics(made, truncation) -> None:
    found = Generator(made.folder).sample(n=32, seed=3, truncation=truncation)
    right = np.abs(found - ours(made, truncation, truncation)).mean()
    wrong = np.abs(ours(made, truncation, truncation) - ours(made, truncation, None if truncation < 2 else 1.0)).mean()
    assert right < 0.3 * wrong


def test_a_sample_at_one_truncation_changes_nothing_at_another(made) -> None:
    generator = Generator(made.folder)
    before = generator.sample(n=8)
    generator.sample(n=8, truncation=0.3)
    assert np.array_equal(generator.sample(n=8), before)


def test_latents_are_decoded_with_the_statistics_that_are_asked_for(made) -> None:
    generator = Generator(made.folder)
    z, labels = generator.latents(8, 3, truncation=0.5), generator.labels(8, 3)
    whole = generator.sample(n=8, seed=3, truncation=0.5)
    assert np.array_equal(generator.decode(z, labels, truncation=0.5), whole)
    assert not np.array_equal(generator.decode(z, labels), whole)


def test_the_card_shows_the_truncation_curve_and_the_verdict(made, conditional) -> None:
    card = (made.folder / "card.md").read_text()
    assert "## Truncation\n\nAmenable to truncation. The paper's truncation" in card
    assert "| truncation | precision | saturated |\n|---|---|---|\n| 0.5 | 0.9 | 0.25 |\n| none | 0.9 | 0.25 |" in card
    assert "truncation_curve" not in card
    assert "## Truncation" not in (conditional.folder / "card.md").read_text()


def test_the_table_has_every_threshold_and_ends_with_the_nets_own_statistics(made) -> None:
    table, weights = (load_file(made.folder / f"{name}.safetensors") for name in ("standing", "model"))
    assert Generator(made.folder).config["standing"] == list(THRESHOLDS)
    assert table
    for name, rows in table.items():
        assert len(rows) == len(THRESHOLDS)
        assert torch.equal(rows[-1], weights[name])


def test_a_package_without_them_uses_its_own_at_every_truncation(made, conditional, tmp_path) -> None:
    """As before: families and specs that ask for none are published as they were."""
    assert Generator(conditional.folder).config["standing"] == []
    assert not (conditional.folder / "standing.safetensors").exists()
    shutil.copytree(made.folder, tmp_path / "model")
    table = load_file(tmp_path / "model" / "standing.safetensors")
    save_file(
        {name: rows[-1:].expand_as(rows).clone() for name, rows in table.items()},
        tmp_path / "model" / "standing.safetensors",
    )
    found = Generator(tmp_path / "model").sample(n=32, seed=3, truncation=0.5)
    assert np.abs(found - ours(made, 0.5, None)).max() <= 1


@pytest.mark.parametrize("limit", [1e-4, 0.01, 0.3, 1.0, 2.5, 8.0, 20.0])
def test_variance_is_that_of_the_truncated_normal(limit) -> None:
    assert variance(limit) == pytest.approx(truncnorm(-limit, limit).var(), rel=1e-6)


def test_a_truncated_picture_is_drawn_again_from_its_saved_latents(made, tmp_path) -> None:
    """The model normalises by the truncation, so the file has to remember it."""
    draw = ["sample", str(made.folder), "-n", "9"]
    first, again, plain = (tmp_path / name for name in ("first.png", "again.png", "plain.png"))
    saved, forgetful = tmp_path / "z.npz", tmp_path / "forgetful.npz"
    for options in (
        ["--truncation", "0.3", "--latents", saved, "--out", first],
        ["--from-latents", saved, "--latents", forgetful, "--out", again],
    ):
        done = CliRunner().invoke(app, [*draw, *map(str, options)])
        assert done.exit_code == 0, done.output
    assert first.read_bytes() == again.read_bytes()
    assert load_latents(forgetful).truncation == 0.3, "saved a second time, it is still known"
    save_latents(forgetful, load_latents(saved)._replace(truncation=None))
    done = CliRunner().invoke(app, [*draw, "--from-latents", str(forgetful), "--out", str(plain)])
    assert done.exit_code == 0, done.output
    assert plain.read_bytes() != first.read_bytes()
