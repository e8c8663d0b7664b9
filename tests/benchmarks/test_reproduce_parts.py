"""The parts of a reproduction: splits, jobs that are found again, specs, results, the table's rows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reproduce_doubles import COUNTS, FakeApi, digits_zip
from torch import nn

from benchmarks.reproduce import __main__ as command
from benchmarks.reproduce import results, rows
from benchmarks.reproduce.figures import Figure, over_seeds, shown
from benchmarks.reproduce.images import CIFAR10, MNIST, NoImages, Splits
from benchmarks.reproduce.platform import find_or_submit
from benchmarks.reproduce.protocols.features import hidden_layer, with_statistics_of
from benchmarks.reproduce.protocols.quality import gradient_norms
from benchmarks.reproduce.protocols.table import PROTOCOLS
from benchmarks.reproduce.specs import spec_of
from trainer.families.table import recipes


def test_late_numbers_of_train_are_the_validation_split() -> None:
    assert MNIST.split_of("train/3/49999.png") == ("train", "3", "49999.png")
    assert MNIST.split_of("mnist/train/3/50000.png") == ("valid", "3", "50000.png")
    assert MNIST.split_of("test/3/60001.png") == ("test", "3", "60001.png")
    assert MNIST.split_of("README.md") is None
    assert MNIST.split_of("train/3/cover.png") is None


def test_cifar10_has_no_validation_split_and_its_colours_are_kept(tmp_path: Path) -> None:
    assert CIFAR10.split_of("train/airplane/4999.jpg") == ("train", "airplane", "4999.jpg")
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    for split, count in (("train", 6), ("test", 4)):
        for label, image in (("airplane", red), ("truck", blue)):
            (tmp_path / "cifar" / split / label).mkdir(parents=True)
            for number in range(50_000, 50_000 + count // 2):  # such a number is MNIST's business alone
                image.save(tmp_path / "cifar" / split / label / f"{number}.jpg", quality=95)
    splits = Splits(CIFAR10, str(tmp_path / "cifar"), tmp_path / "data")
    arch = recipes()["biggan-cifar10"]().arch
    for split, count in (("train", 6), ("test", 4)):
        images, labels = splits.images(split, arch)
        assert images.shape == (count, 32, 32, 3)
        assert sorted(labels) == [0] * (count // 2) + [1] * (count // 2)
        np.testing.assert_array_less(100, images[labels == 0][..., 0])  # class 0 is the first by name
        np.testing.assert_array_less(100, images[labels == 1][..., 2])
    assert {path.name for path in (tmp_path / "data" / "cifar10-32x3").iterdir()} == {"train", "test"}


def test_of_all_recipes_those_without_their_images_are_left_out_but_one_that_was_named_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIFAR10", raising=False)
    given = ["--mnist", str(digits_zip(tmp_path / "digits.zip"))]
    options = command.parser().parse_args(["all", *given])
    names, sets = command.with_images(command.chosen(["all"]), options, tmp_path)
    assert names == [name for name in PROTOCOLS if name != "biggan-cifar10"]
    assert {splits.set for splits in sets.values()} == {MNIST}
    assert "biggan-cifar10 is left out" in capsys.readouterr().err
    options = command.parser().parse_args(["biggan-cifar10", "gan", *given])
    with pytest.raises(NoImages, match=r"cifar10-jpg\.zip is not there: give CIFAR10.*--cifar10"):
        command.with_images(["biggan-cifar10", "gan"], options, tmp_path)


def test_biggan_on_cifar10_trains_narrow_nets_with_a_moving_average_that_a_short_training_reaches() -> None:
    protocol, recipe = PROTOCOLS["biggan-cifar10"], recipes()["biggan-cifar10"]()
    made = spec_of("biggan-cifar10", protocol, recipe, url="data/cifar10", images=400_000, seed=0, changes=[])
    assert (made.arch.g_width, made.arch.d_width) == (16, 16)
    assert made.ema is not None
    assert (made.ema.decay, made.ema.start_images) == (0.999, 100_000)
    assert made.objective == recipe.objective
    assert made.evaluation.every_steps == 400_000 // (50 * 4) // 8


def test_the_splits_are_disjoint_labelled_and_at_the_archs_resolution(tmp_path: Path) -> None:
    mnist = Splits(MNIST, str(digits_zip(tmp_path / "digits.zip")), tmp_path / "data")
    arch = recipes()["gan-digits"]().arch
    sizes = {}
    for split in COUNTS:
        images, labels = mnist.images(split, arch)
        assert images.shape[1:] == (16, 16, 1)
        assert len(images) == len(labels)
        sizes[split] = len(images)
    assert sizes == COUNTS
    assert mnist.digest("train", arch) != mnist.digest("test", arch)
    made = [mnist.remembered("baseline", arch, lambda value=value: {"mean": value}) for value in (1.0, 2.0)]
    assert made == [{"mean": 1.0}, {"mean": 1.0}]
    train, valid = Path(mnist.url("train", arch)), Path(mnist.url("valid", arch))
    shutil.rmtree(valid)
    shutil.copytree(train, valid)  # σ is chosen on the validation split, so other images there are another baseline
    assert mnist.remembered("baseline", arch, lambda: {"mean": 3.0}) == {"mean": 3.0}


def test_missing_images_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNIST", raising=False)
    with pytest.raises(NoImages, match=r"data/mnist-png\.zip is not there.*train/<class>/<number>\.png.*--mnist"):
        MNIST.find(None)
    empty = tmp_path / "empty"
    (empty / "photos").mkdir(parents=True)
    with pytest.raises(NoImages, match="holds no images for train, valid, test"):
        Splits(MNIST, str(empty), tmp_path / "data").url("train", recipes()["gan-digits"]().arch)


def spec(**given: Any) -> Any:
    arguments = {"url": "data/mnist", "images": None, "seed": 0, "changes": [], **given}
    return spec_of("wgan", PROTOCOLS["wgan"], recipes()["wgan"](), **arguments)


def test_a_training_is_found_again_while_it_runs_and_when_it_has_succeeded() -> None:
    api = FakeApi()
    job, new = find_or_submit(api, spec())
    assert new
    assert find_or_submit(api, spec()) == (job, False)
    api.end(job, "succeeded")
    found, new = find_or_submit(api, spec())
    assert (found.id, new, len(api.jobs)) == (job.id, False, 1)


def test_another_training_is_another_job() -> None:
    api = FakeApi()
    ids = {
        find_or_submit(api, other)[0].id for other in (spec(), spec(seed=1), spec(images=640), spec(url="data/other"))
    }
    assert len(ids) == 4


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_training_that_failed_is_started_again_once(state: str) -> None:
    api = FakeApi()
    job, _ = find_or_submit(api, spec())
    api.end(job, state)
    second, new = find_or_submit(api, spec())
    assert new
    assert second.id != job.id
    assert find_or_submit(api, spec()) == (second, False)


def test_two_commands_at_once_get_one_job() -> None:
    class Late(FakeApi):
        def every_job(self, **filters: Any) -> Any:
            return iter(())  # the other command's job is not listed yet

    api = Late()
    assert find_or_submit(api, spec())[0] == find_or_submit(api, spec())[0]
    assert len(api.jobs) == 1


def test_the_job_is_the_recipe_scored_on_the_way_published_and_hard_to_lose() -> None:
    made = spec(images=128_000, seed=3, changes=["train.log_steps=7"])
    recipe = recipes()["wgan"]()
    assert made.arch == recipe.arch
    assert made.objective == recipe.objective
    assert made.optimizers == recipe.optimizers
    assert (made.train.images, made.train.seed, made.train.log_steps) == (128_000, 3, 7)
    assert made.evaluation.every_steps == 128_000 // (64 * 5) // 12
    assert made.publish is not None
    assert made.retry.attempts > 10


def of_cgan(**given: Any) -> Any:
    arguments = {"url": "data/mnist", "images": None, "seed": 0, "changes": [], **given}
    return spec_of("cgan", PROTOCOLS["cgan"], recipes()["cgan"](), **arguments)


def test_states_to_choose_from_are_spread_over_the_whole_training_however_long_it_is() -> None:
    for images in (12_500_000, 640_000, 700):
        made = of_cgan(images=images)
        steps = images // made.train.batch
        written = {*range(made.checkpoint.every_steps, steps, made.checkpoint.every_steps), steps}
        assert len(written) == min(steps, 25)
        assert made.checkpoint.keep_last >= len(written)
    asked = of_cgan(changes=["checkpoint.keep_last=2"])
    assert asked.checkpoint.keep_last == 2


@pytest.mark.parametrize("name", ["infogan", "infogan-gan"])
def test_infogan_without_a_categorical_code_is_refused_before_it_trains_for_hours(name: str) -> None:
    with pytest.raises(ValueError, match=r"arch\.latent\.categorical is empty.*--set arch\.latent\.categorical=\[10\]"):
        spec_of(
            name, PROTOCOLS[name], recipes()[name](),
            url="data/mnist", images=None, seed=0, changes=["arch.latent.categorical=[]"],
        )  # fmt: skip


def test_a_training_that_keeps_other_states_is_the_same_training() -> None:
    api = FakeApi()
    job, _ = find_or_submit(api, of_cgan(changes=["checkpoint.keep_last=3", "checkpoint.every_steps=2500"]))
    assert find_or_submit(api, of_cgan()) == (job, False)


def test_a_figures_own_note_stands_in_its_row(tmp_path: Path) -> None:
    figures = [
        Figure("Parzen", 133.0, 2.0, target=132.0, note="of the best state"),
        Figure("agreement", 96.0, target=95.0),
    ]
    parzen, agreement = drawn(tmp_path, result("cgan", figures))
    assert parzen.endswith("| of the best state |")
    assert "best state" not in agreement
    joined = over_seeds([[replace(figures[0], note="of A")], [replace(figures[0], note="of B")]])
    assert joined[0].note == "of A; of B"


def test_every_reproduction_is_of_a_recipe_that_exists() -> None:
    assert {protocol.trains(name) for name, protocol in PROTOCOLS.items()} - set(recipes()) == set()


def test_figures_are_averaged_over_seeds_with_their_spread() -> None:
    runs = [[Figure("error", value, 0.1, target=2.0, better="lower", unit="%")] for value in (1.0, 2.0, 4.0)]
    (joined,) = over_seeds(runs)
    assert joined.measured == pytest.approx(7 / 3)
    assert joined.error == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert joined.error_of == "standard deviation over 3 seeds"
    assert joined.holds is False
    assert over_seeds(runs[:1]) == runs[0]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(224.13, 2.04, "224.1 ± 2.0"), (2.98, 0.17, "2.98 ± 0.17"), (0.012342, 0.00021, "0.01234 ± 0.00021"), (5.0, None, "5")],
)  # fmt: skip
def test_a_figure_is_shown_with_the_digits_that_its_error_leaves(value: float, error: float | None, text: str) -> None:
    assert shown(Figure("x", value, error).as_json()) == text


def result(name: str, figures: list[Figure], **given: Any) -> dict[str, Any]:
    run = {"wall_seconds": 3900, "fid": [], "extractor_digest": "e", "dataset_digest": "d", **given.pop("run", {})}
    cut = results.cut(given.get("images", 10**9), PROTOCOLS[name], 640_000)
    return {
        "recipe": name, "commit": "a" * 40, "quick": False, "images": 10**9, "cut": cut, "note": "", "reason": None,
        "figures": [figure.as_json() for figure in figures], "runs": [run], **given,
    }  # fmt: skip


def drawn(tmp_path: Path, *made: dict[str, Any]) -> list[str]:
    for one in made:
        (tmp_path / f"{one['recipe']}.json").write_text(json.dumps(one))
    return rows.table(tmp_path).splitlines()[2:]


def test_a_figure_that_falls_short_says_so_with_the_reason_and_a_cut_protocol_too(tmp_path: Path) -> None:
    figures = [
        Figure("Parzen", 201.2, 2.1, paper="225 ± 2", target=225.0, unit="nats"),
        Figure("true images", 244.2, 2.1),
    ]
    (line,) = drawn(tmp_path, result("gan", figures, images=2_500_000, reason="trained for too short"))
    assert "| 225 ± 2 | 201.2 ± 2.1 nats | **no** | 2.5 M (50 of 250) | 1:05 h | `aaaaaaa` |" in line
    assert "true images: 244.2 ± 2.1" in line
    assert "**cut**: 50 of 250 epochs; **short because** trained for too short" in line


def test_a_figure_that_is_reached_says_nothing_of_the_kind(tmp_path: Path) -> None:
    (line,) = drawn(tmp_path, result("gan", [Figure("Parzen", 226.0, 2.1, target=225.0)]))
    assert "| yes |" in line
    assert "cut" not in line
    assert "short" not in line


def test_frechet_distances_are_compared_at_equal_images_and_one_extractor_alone(tmp_path: Path) -> None:
    figure = [Figure("Fréchet distance", 3.0)]
    gp = result("wgan-gp", figure, run={"fid": [[1_000_000, 8.0], [3_000_000, 4.0]]})
    plain = result("wgan", figure, run={"fid": [[500_000, 20.0], [2_000_000, 9.0]]})
    assert "Fréchet distance at 2 M images 6, wgan 9" in drawn(tmp_path, gp, plain)[1]
    other = result("wgan", figure, run={"fid": [[2_000_000, 9.0]], "extractor_digest": "another"})
    assert "Fréchet distance at" not in drawn(tmp_path, gp, other)[1]


def test_every_shortened_training_says_so_also_where_the_paper_names_no_length() -> None:
    for name, protocol in PROTOCOLS.items():
        length = recipes()[protocol.trains(name)]().train.images
        assert results.cut(length // 100, protocol, length), name
        assert results.cut(max(length, protocol.images or 0), protocol, length) is None, name
    assert results.cut(160_000, PROTOCOLS["infogan"], 640_000) == "0.16 of the recipe's 0.64 M images"


def test_a_figure_that_a_seed_lacks_is_no_mean_over_the_seeds() -> None:
    runs = [[Figure("σ 0.167", 1.0), Figure("both", 1.0)], [Figure("σ 0.215", 2.0), Figure("both", 2.0)]]
    with pytest.raises(ValueError, match=r"not every seed has these figures: σ 0\.167, σ 0\.215"):
        over_seeds(runs)


def test_a_row_names_the_commit_that_trained_and_the_one_that_measured(tmp_path: Path) -> None:
    figure = [Figure("Parzen", 226.0, 2.1)]
    (line,) = drawn(tmp_path, result("gan", figure, run={"training_code": "0.1.0 (3ef0eb6)"}))
    assert "| `3ef0eb6`, measured by `aaaaaaa` |" in line
    (line,) = drawn(tmp_path, result("gan", figure, run={"training_code": "0.1.0 (aaaaaaa)"}))
    assert "| `aaaaaaa` |" in line


def test_quick_results_are_not_quoted(tmp_path: Path) -> None:
    assert drawn(tmp_path, result("gan", [Figure("Parzen", 1.0)], quick=True)) == []


def test_batch_norm_is_re_estimated_over_all_images() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False), nn.LeakyReLU(), nn.Linear(3, 2))
    net.eval()
    images = 5.0 + torch.randn(1000, 1, 2, 2)
    estimated = with_statistics_of(net, images)
    found = estimated[:3](images)
    assert found.mean(dim=0).abs().max() < 1e-5
    assert (found.std(dim=0) - 1).abs().max() < 0.01
    assert float(net[2].running_mean.abs().max()) == 0.0  # the net itself stays as it was
    np.testing.assert_allclose(hidden_layer(estimated, images), estimated[:4](images).detach().numpy())


def test_the_gradient_norm_is_that_of_a_known_function() -> None:
    class Distance(nn.Module):
        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
            return 3.0 * x.flatten(1).norm(dim=1)

    found = gradient_norms(Distance(), torch.randn(260, 1, 4, 4), None)
    torch.testing.assert_close(found, torch.full((260,), 3.0))
