"""The metric `reconstruction`: the mean squared difference of images and G(E(x)), the same for every world size."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evaluate_doubles import FakeRun
from torch import nn

from trainer.engine.events import StepDone
from trainer.evaluate import Evaluator, evaluator, reconstruction
from trainer.evaluate.reconstruction import reconstruction_error
from trainer.evaluate.references import real_indices
from trainer.families.table import recipes
from trainer.spec import Evaluation


def small(metrics=("reconstruction",), samples=600):
    """A tiny autoencoder with moving averages on 8 px digits."""
    spec = recipes()["vae-digits"]()
    return spec.replace(
        arch=spec.arch.replace(g_hidden=16, e_hidden=16, resolution=8),
        resources=spec.resources.replace(workers=1),
        evaluation=Evaluation(metrics=metrics, samples=samples),
    )


@pytest.fixture
def run(cache):
    """A run whose averages differ from the nets in training."""
    found = FakeRun(small(), cache)
    with torch.no_grad():
        for average in found.state.averages.values():
            for parameter in average.parameters():
                parameter.mul_(1.5)
    return found


def naive(run, count):
    """Image by image and pixel by pixel, by the averaged nets."""
    g, e = run.state.averages["G"], run.state.averages["E"]
    total = []
    for index in real_indices(run.dataset.manifest.samples, count):
        image = run.dataset.images([int(index)])[0].float() / 255.0  # the family's pixel range is (0, 1)
        with torch.no_grad():
            again = g(e(image), None)
        pairs = zip(image.flatten().tolist(), again.flatten().tolist(), strict=True)
        total.append(sum((x - y) ** 2 for x, y in pairs) / image.numel())
    return sum(total) / len(total)


def test_it_is_the_mean_over_images_and_pixels_of_the_squared_difference(run, cache):
    scores, _ = Evaluator(run.spec, run.dataset, cache).evaluate(run)
    assert scores["reconstruction"] == pytest.approx(naive(run, 600), rel=1e-5)


def test_pixels_count_from_zero_to_one_whatever_the_families_range(run):
    arch = SimpleNamespace(pixel_range=(-1.0, 1.0), conditional=False)
    white, alike = nn.Module(), nn.Identity()
    white.forward = lambda z, labels: torch.ones(len(z), 1, 8, 8)
    error = reconstruction_error(white, alike, arch, run.dataset, run.distributed, count=99)
    images = run.dataset.images(real_indices(run.dataset.manifest.samples, 99))[0].numpy() / 255.0
    assert error == pytest.approx(np.square(1.0 - images).mean(), rel=1e-6)


def test_no_number_of_workers_changes_a_bit_of_it(run, monkeypatch):
    monkeypatch.setattr(reconstruction, "CHUNK", 64)
    nets = run.state.averages["G"], run.state.averages["E"]

    def measured(world):
        barrier, parts, found = threading.Barrier(world), {}, {}

        def work(rank):
            def gather(tensor):
                parts[rank] = tensor
                barrier.wait(30)
                return torch.cat([parts[other] for other in range(world)])

            ranks = SimpleNamespace(rank=rank, world=world, device=torch.device("cpu"), gather=gather)
            found[rank] = reconstruction_error(*nets, run.spec.arch, run.dataset, ranks, count=300)

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(found) == world
        return set(found.values())

    alone = measured(1)
    assert alone == measured(2) == measured(3) == measured(7)  # of seven, two have no image


def test_alone_it_needs_no_feature_extractor(run, cache, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("an extractor was made")

    monkeypatch.setattr(evaluator, "extractor", refuse)
    Evaluator(run.spec, run.dataset, cache).handle(StepDone(1, run.spec.train.images, last=True), run)
    (event,) = run.emitted
    assert set(event.scores) == {"reconstruction"}
    assert event.provenance["extractor"] is None
    assert event.provenance["real_samples"] == 600
    assert "training image" in event.provenance["reconstruction"]
    assert event.provenance["dataset_digest"] == run.dataset.manifest.digest


def test_it_stands_beside_the_other_scores(cache, classifier):
    both = FakeRun(small(metrics=("fid", "reconstruction"), samples=300), cache)
    scores, provenance = Evaluator(both.spec, both.dataset, cache).evaluate(both)
    assert set(scores) == {"fid", "reconstruction"}
    assert provenance["extractor_digest"] == classifier.digest
    assert scores["reconstruction"] == pytest.approx(naive(both, 300), rel=1e-5)


def test_another_encoder_is_another_report(run, cache):
    first, _ = Evaluator(run.spec, run.dataset, cache).evaluate(run)
    with torch.no_grad():
        next(run.state.net("E").parameters()).mul_(3.0)
    second, _ = Evaluator(run.spec, run.dataset, cache).evaluate(run)
    assert first != second


def test_nets_keep_their_modes_and_diverged_ones_score_nan(run, tmp_path):
    nets = [run.state.net(name) for name in ("G", "E")]
    nets[0].train()
    with torch.no_grad():
        next(nets[1].parameters()).fill_(torch.nan)
    scores, _ = Evaluator(run.spec, run.dataset, tmp_path).evaluate(run)
    assert np.isnan(scores["reconstruction"])
    assert nets[0].training
    assert not nets[1].training
