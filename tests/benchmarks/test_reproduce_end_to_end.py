"""A reproduction from a finished training to the JSON and the pictures, and the protocols that need other nets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reproduce_doubles import digits_zip

from benchmarks.reproduce import __main__ as command
from benchmarks.reproduce import curves, pictures
from benchmarks.reproduce.case import QUICK, Case
from benchmarks.reproduce.figures import Figure
from benchmarks.reproduce.images import MNIST, Splits
from benchmarks.reproduce.protocols import autoencoding, coding, density, features, quality, truncation
from benchmarks.reproduce.trained import Trained, Unfinished
from trainer.checkpoint import write
from trainer.checkpoint.nets import Loaded, load_nets
from trainer.engine.sampling import draw, images_of, set_code
from trainer.errors import CheckpointError
from trainer.families.table import family, recipes
from trainer.launch import compose
from trainer.launch.local import job_file, run
from trainer.spec import JobSpec, with_overrides

TINY = {
    "dcgan": ["arch.g_width=4", "arch.d_width=4", "arch.latent.dim=4"],
    "infogan": ["arch.g_width=4", "arch.d_width=4", "arch.g_hidden=16", "arch.d_hidden=16", "arch.q_hidden=8"],
    "vae": ["arch.g_hidden=16", "arch.e_hidden=16", "arch.latent.dim=3"],
    "bigan": ["arch.g_hidden=16", "arch.e_hidden=128", "arch.d_hidden=16"],
    "cgan": ["arch.g_z_hidden=4", "arch.g_y_hidden=4", "arch.g_hidden=8", "arch.d_hidden=8"],
    "wgan-gp": ["arch.g_width=4", "arch.d_width=4", "arch.latent.dim=4"],
    "biggan-digits": [],
}


def tiny(recipe: str, url: str = "data/mnist") -> JobSpec:
    changes = [
        "arch.resolution=8",
        f"data.url={url}",
        "data.lanes=4",
        "train.batch=16",
        "train.images=64",
        "train.log_steps=2",
    ]
    changes += ["checkpoint.every_steps=4", "evaluation.samples=32", "evaluation.metrics=[fid]", "samples.count=4"]
    return with_overrides(recipes()[recipe](), [*changes, *TINY[recipe]])


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    root = tmp_path_factory.mktemp("mnist")
    return Splits(MNIST, str(digits_zip(root / "digits.zip")), root / "home" / "data")


@pytest.fixture(scope="module")
def folder(mnist: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training."""
    made = tmp_path_factory.mktemp("training")
    spec = tiny("dcgan", mnist.url("train", tiny("dcgan").arch))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "Reporting", lambda *_: Silent())  # its report would cost most of the time
        run(job_file(spec, made, made / "cache", []))
    return made


class Silent:
    """A listener that does nothing."""

    def handle(self, event: Any, run: Any) -> None: ...

    def close(self) -> None: ...


class Untrained(Trained):
    """Nets as they are built, without a training or a package; `generator` is what the package's would be."""

    def __init__(self, recipe: str) -> None:
        self.spec = tiny(recipe)
        found = family(self.spec.arch.family)
        torch.manual_seed(0)
        nets = {name: net.eval().requires_grad_(False) for name, net in found.build(self.spec.arch).items()}
        self.nets = Loaded(self.spec, found, nets, {})
        self.events = []

    @property
    def generator(self) -> Any:
        return self

    def latents(self, n: int, seed: int, codes: Any = None) -> Any:
        z = draw(self.nets.family, self.spec.arch, n=n, seed=seed)[0]
        for name, values in (codes or {}).items():
            set_code(z, self.spec.arch, name, values)
        return z.numpy()

    def decode(self, z: Any) -> Any:
        return images_of(self.nets.nets["G"], self.spec.arch, torch.from_numpy(z))

    def sample(self, n: int, labels: Any = None, start: int = 0) -> Any:
        return self.decode(self.latents(n, 1))


def case(recipe: str, mnist: Splits) -> Case:
    return Case(Untrained(recipe), mnist, QUICK)


def by_name(figures: Iterator[Figure]) -> dict[str, float]:
    return {figure.name: figure.measured for figure in figures}


@pytest.mark.long
def test_a_finished_training_is_measured_written_and_drawn_the_same_each_time(
    folder: Path, mnist: Splits, tmp_path: Path
) -> None:
    arguments = ["dcgan", "--job", str(folder), "--mnist", mnist.source, "--home", str(mnist.folder.parent), "--quick"]
    arguments += ["--out", str(tmp_path / "results"), "--images-out", str(tmp_path / "pictures")]
    assert command.main([*arguments, "--reason", "four steps"]) == 0
    path = tmp_path / "results" / "dcgan-quick.json"
    first = json.loads(path.read_text())
    assert command.main(arguments) == 0
    again = json.loads(path.read_text())
    assert first["figures"] == again["figures"]
    assert again["reason"] == "four steps"
    assert first["cut"] == "0.0013 of 200 epochs".replace("0.0013", f"{200 * 64 / 10_000_000:.3g}")
    (made,) = first["runs"]
    assert (made["images"], made["seed"], made["starts"], len(made["fid"])) == (64, 0, 1, 1)
    assert made["dataset_digest"] == mnist.digest("train", tiny("dcgan").arch)
    assert str(mnist.folder) not in path.read_text()
    figures = {figure["name"]: figure["measured"] for figure in first["figures"]}
    assert figures["1-NN test error from 150 real images"] < 50 < figures["1-NN test error from 300 generated samples"]
    drawn = {picture.name for picture in (tmp_path / "pictures").iterdir()}
    assert drawn == {"dcgan.png", "dcgan-interpolation.png", "dcgan-arithmetic.png"}


def test_the_nets_of_a_checkpoint_are_those_that_were_trained(folder: Path, tmp_path: Path) -> None:
    path = next((folder / "checkpoints").glob("step-*"))
    before = torch.get_rng_state()
    loaded = load_nets(path)
    assert torch.equal(before, torch.get_rng_state())
    assert set(loaded.nets) == {"G", "D"}
    assert not loaded.averages
    published = Trained(folder)
    z = torch.from_numpy(published.generator.latents(6, seed=1))
    labels = torch.arange(6)
    images = images_of(loaded.net("G"), loaded.spec.arch, z, labels)
    assert np.abs(images.astype(int) - published.generator.decode(z.numpy(), labels.numpy())).max() <= 1
    (path / "meta.json").write_text("{}")
    with pytest.raises(CheckpointError, match="damaged"):
        load_nets(path)


def drawing(image: Any) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint whose G draws this one image [H, W, C], whatever the latent and the label."""
    found = family("cgan").build(tiny("cgan").arch)
    last = [layer for layer in found["G"].modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.from_numpy(image).flatten().float().clamp(1e-4, 1 - 1e-4).logit())
    return {f"net/{name}/{key}": value for name, net in found.items() for key, value in net.state_dict().items()}


def test_the_state_that_is_measured_is_the_best_by_validation_never_by_test(mnist: Splits, tmp_path: Path) -> None:
    spec = tiny("cgan")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "spec.yaml").write_text(json.dumps(spec.model_dump(mode="json")))
    valid, test = (mnist.images(split, spec.arch)[0].mean(axis=0) / 255 for split in ("valid", "test"))
    for step, image in (
        (1, np.full_like(valid, 0.5)),
        (2, valid),
        (3, test),
    ):  # a mean image is nearest to its own split
        meta = {"spec": spec.model_dump(mode="json"), "clock": {"images": 1_000_000 * step}}
        write(tmp_path / "checkpoints", step, drawing(image), meta)
    measure = density.best_by_validation(density.parzen_likelihood("132 ± 1.8", 132.0))
    found, last = ({f.name: f for f in m(Case(Trained(tmp_path), mnist, QUICK))} for m in (measure, of_last(measure)))
    ours, its = found["Parzen log-likelihood"], last["Parzen log-likelihood"]
    assert (
        ours.note == "of the state after 2 M images, the best by validation of the 3 that the job kept, from 1 M to 3 M"
    )
    assert its.note == "of the last state, after 3 M images: the job kept no other to choose from"
    assert ours.measured < its.measured  # the test images would have chosen otherwise
    assert not found["of k-means centroids"].note


def of_last(measure: Any) -> Any:
    """The measure of a job that kept the last checkpoint alone."""

    def only_last(given: Case) -> Any:
        for path in sorted((given.trained.folder / "checkpoints").iterdir())[:-1]:
            shutil.rmtree(path)
        return measure(given)

    return only_last


def test_a_folder_without_a_package_is_no_finished_training(tmp_path: Path, mnist: Splits, capsys: Any) -> None:
    with pytest.raises(Unfinished, match="holds no model"):
        Trained(tmp_path)
    assert command.main(["dcgan", "--job", str(tmp_path), "--mnist", mnist.source, "--home", str(tmp_path)]) == 1
    assert "holds no model" in capsys.readouterr().err


def test_an_unknown_recipe_is_named_with_those_there_are(mnist: Splits, tmp_path: Path, capsys: Any) -> None:
    assert command.main(["stylegan", "--mnist", mnist.source, "--home", str(tmp_path)]) == 1
    assert "no reproduction of stylegan; there are all, gan," in capsys.readouterr().err.replace("\n", " ")


def test_an_untrained_q_guesses_and_one_that_reads_the_label_finds_it(mnist: Splits) -> None:
    guessing = case("infogan", mnist)
    figures = by_name(coding.code_matching(5.0)(guessing)) | by_name(coding.information(guessing))
    assert figures["test error of c1 as digit, matched on training images"] > 50
    assert abs(figures["L_I of c1 over 200 published samples"]) < 0.5

    class Knowing(torch.nn.Module):
        """Logits of the image's class, moved on by three values, from the pixels themselves."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            images, labels = guessing.split("test")
            more, others = guessing.split("train")
            known = torch.from_numpy(np.concatenate([images, more])).flatten(1).float()
            index = torch.cdist(x.flatten(1) * 255, known).argmin(dim=1)
            return torch.eye(10)[(torch.from_numpy(np.concatenate([labels, others]))[index] + 3) % 10]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coding, "_posterior", lambda *_: Knowing())
        assert by_name(coding.code_matching(5.0)(guessing)) == {
            "test error of c1 as digit, matched on training images": 0.0
        }


def test_the_curve_of_l_i_is_the_jobs_own_metric(mnist: Splits) -> None:
    given = case("infogan", mnist)
    given.trained.events = [
        {
            "kind": "progress",
            "step": step,
            "images": 100 * step,
            "data": {"metrics": {"Q/information": min(2.2, 0.1 * step)}},
        }
        for step in range(1, 41)
    ]
    figures = by_name(coding.information(given))
    assert figures["L_I at the end of the training"] == pytest.approx(2.2)
    assert figures["images until L_I was at 90 % of its end"] == 2000


def test_a_vaes_bounds_are_ordered_and_the_elbo_is_its_loss(mnist: Splits) -> None:
    given = case("vae", mnist)
    elbo, weighted = (figure.measured for figure in autoencoding.likelihood_bounds(given))
    assert elbo < weighted < 0
    # An untrained decoder gives every pixel about 1/2, and the posterior is about the prior.
    assert elbo == pytest.approx(-64 * log(2), rel=0.05)
    squared, absolute = (figure.measured for figure in autoencoding.reconstruction_error(given))
    grey = given.split("test")[0] / 255.0
    assert squared == pytest.approx(((grey - 0.5) ** 2).mean(), rel=0.05)
    assert absolute == pytest.approx(np.abs(grey - 0.5).mean(), rel=0.05)


def test_random_features_of_digits_are_worth_something_to_a_neighbour(mnist: Splits) -> None:
    figures = by_name(features.encoder_neighbours("97.39 %", 97.39)(case("bigan", mnist)))
    assert figures["1-NN test accuracy on E's last hidden layer"] > 60
    assert len(figures) == 2


def test_the_critics_estimate_is_paired_with_the_scores_of_the_same_time(mnist: Splits) -> None:
    given = case("wgan-gp", mnist)
    (norm,) = quality.gradient_norm(given)
    assert norm.measured > 0
    ticks = [
        {"kind": "progress", "step": s, "images": s, "data": {"metrics": {"D/real": 2.0 / s, "D/fake": -1.0 / s}}}
        for s in range(1, 61)
    ]
    scores = [
        {"kind": "scores", "step": s, "images": s, "data": {"scores": {"fid": 30.0 / s}}} for s in (10, 20, 40, 60)
    ]
    given.trained.events = [*ticks, *scores]
    pairs = quality.critic_and_quality(given.trained)
    assert [images for images, _, _ in pairs] == [10, 20, 40, 60]
    assert pairs[1][1] == pytest.approx(np.mean([3.0 / s for s in range(11, 21)]))
    ranked, linear = quality.critic_follows_quality(replace(given))
    assert ranked.measured == pytest.approx(1.0)
    assert 0.9 < linear.measured <= 1.0


CURVE = [
    {"truncation": limit, "fid": fid, "precision": 0.9, "recall": 0.5, "saturated": 0.1}
    for limit, fid in ((0.5, 7.0), (1.0, 3.0), (None, 0.5))
]


class Copying(Trained):
    """A generator that draws real images of the asked class: at τ ≤ 0.5 one of each, else all of them; saturated at τ = 1."""

    def __init__(self, mnist: Splits, curve: bool) -> None:
        self.spec = tiny("biggan-digits")
        self.data = mnist.images("train", self.spec.arch)
        evaluated = {"truncation_curve": CURVE, "truncation_verdict": "Amenable."} if curve else {}
        data = {"scores": {"fid": 0.5}, "provenance": evaluated}
        self.events = [{"kind": "scores", "step": 1, "images": 64, "data": data}]

    def sample(self, n: int, labels: Any = None, start: int = 0, truncation: float | None = None) -> Any:
        images, known = self.data
        taken = dict.fromkeys(range(10), 0)
        drawn = []
        for label in labels:
            of_class = np.flatnonzero(known == label)
            drawn.append(images[of_class[taken[label] % len(of_class)]])
            taken[label] += 0 if truncation is not None and truncation <= 0.5 else 1
        found = np.stack(drawn)
        return np.full_like(found, 255) if truncation == 1.0 else found


def test_the_truncation_curve_is_the_platforms_with_what_samples_say_at_each_threshold(mnist: Splits) -> None:
    given = Case(Copying(mnist, curve=True), mnist, QUICK)
    saturated, agrees, whole, variety = truncation.truncation(given)
    points = {point["truncation"]: point for point in saturated.points}
    assert list(points) == [0.04, 0.5, 1.0, 2.0, None]
    assert {limit: point["fid"] for limit, point in points.items()} == {
        0.04: None,
        0.5: 7.0,
        1.0: 3.0,
        2.0: None,
        None: 0.5,
    }
    assert points[0.5]["diversity"] == variety.measured == 0.0
    assert points[None]["diversity"] == points[2.0]["diversity"] == whole.measured > 0.3
    assert agrees.measured == 100 * points[0.5]["agreement"]
    assert points[1.0]["saturated"] == 1.0
    assert saturated.measured == pytest.approx(100 * (1.0 - points[None]["saturated"]))
    assert saturated.note == "Amenable."


def test_a_job_whose_evaluations_truncated_nothing_has_a_curve_without_the_platforms_scores(mnist: Splits) -> None:
    points = list(truncation.curve(Case(Copying(mnist, curve=False), mnist, QUICK)))
    assert [point["truncation"] for point in points] == [0.04, 0.5, 2.0, None]
    assert {point["fid"] for point in points} == {None}


@pytest.mark.long
def test_the_comparison_of_truncation_is_drawn_from_the_results_that_there_are(mnist: Splits, tmp_path: Path) -> None:
    given = Case(Copying(mnist, curve=True), mnist, QUICK)
    figures = [figure.as_json() for figure in truncation.truncation(given)]
    assert list(curves.draw(tmp_path, tmp_path / "pictures")) == []
    for name in ("biggan-mnist", "biggan-mnist-free"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"runs": [{"figures": figures}]}))
        (path,) = curves.draw(tmp_path, tmp_path / "pictures")
        assert path.name == "biggan-mnist-truncation-curve.png"
        assert path.stat().st_size > 10_000
    assert pictures.truncated(given).shape == (5 * 10, 8, 8, 1)  # a row of ten for each threshold


def test_variety_is_the_mean_squared_distance_of_two_images_of_a_class() -> None:
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(30, 4)), np.arange(30) % 3
    by_class = [
        np.mean([((a - b) ** 2).sum() for i, a in enumerate(same) for j, b in enumerate(same) if i != j])
        for same in (rows[labels == label] for label in range(3))
    ]
    assert truncation.within_classes(rows, labels) == pytest.approx(np.mean(by_class))
    with pytest.raises(ValueError, match="class 2 has 1 image"):
        truncation.within_classes(rows[:3], np.array([0, 0, 2]))
