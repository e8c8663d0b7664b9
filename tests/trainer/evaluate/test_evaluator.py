"""The evaluator: when it scores, what a score says, and that no world size and no restart changes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluate_doubles import SAMPLES, FakeRun, score_as_rank, small_spec
from forked import context, free_port

from trainer.engine.events import RunFinished, RunStarted, Scored, StepDone
from trainer.evaluate import Evaluator, accumulate, evaluator
from trainer.evaluate.accumulate import gather_features
from trainer.evaluate.references import real_indices, reference_features
from trainer.evaluate.scores import score

METRICS = ("fid", "kid", "precision", "recall")


def complete(spec):
    return StepDone(10, spec.train.images, last=True)


def test_a_perfect_generator_scores_near_zero_and_noise_does_not(run, classifier, digits, cache):
    rng = np.random.default_rng(0)
    resampled = rng.choice(real_indices(digits.manifest.samples, 900), size=900)
    noise = torch.from_numpy(rng.integers(0, 256, size=(900, 1, 8, 8), dtype=np.uint8))

    def features(images_of):
        def chunk(start, n):
            return classifier(images_of(start, n))

        return gather_features(900, chunk, run.distributed, keep=True)

    real = reference_features(digits, classifier, cache, run.distributed, count=900)
    perfect = score(real, features(lambda start, n: digits.images(resampled[start : start + n])[0]), METRICS)
    bad = score(real, features(lambda start, n: noise[start : start + n]), METRICS)
    assert perfect["fid"] < 0.01 * bad["fid"]
    assert abs(perfect["kid"]) < 0.01 * bad["kid"]
    assert bad["kid"] < 1000, "noise is far off, yet the scale is readable"
    assert perfect["precision"] == 1.0  # every image is a real one
    assert perfect["recall"] > 0.9
    assert bad["precision"] < 0.1


def test_it_scores_at_its_cadence_and_when_training_is_complete(cache):
    spec = small_spec(every_steps=4, metrics=("fid",), samples=32)
    run = FakeRun(spec, cache)
    listener = Evaluator(spec, run.dataset, cache)
    total = spec.train.images
    listener.handle(RunStarted(0, 0, total, resumed=False), run)
    for step, images, last in ((3, 30, False), (4, 40, False), (8, 80, False), (9, total, True)):
        listener.handle(StepDone(step, images, last=last), run)
    listener.handle(RunFinished(9, total, outcome="completed"), run)
    assert [event.step for event in run.emitted] == [4, 8, 9]
    assert all(isinstance(event, Scored) for event in run.emitted)


def test_a_run_that_was_stopped_is_not_scored_at_its_end(run, cache):
    listener = Evaluator(run.spec, run.dataset, cache)
    listener.handle(StepDone(9, run.spec.train.images - 1, last=True), run)
    assert run.emitted == []


def test_a_score_says_what_it_is_a_score_of(run, cache, classifier):
    listener = Evaluator(run.spec, run.dataset, cache)
    listener.handle(complete(run.spec), run)
    (event,) = run.emitted
    assert set(event.scores) == set(METRICS)
    expected = {
        "extractor": "classifier",
        "extractor_digest": classifier.digest,
        "resizer": "none",
        "samples": SAMPLES,
        "real_samples": SAMPLES,
        "batch_norm": "running",
        "truncation": None,
        "dataset_digest": run.dataset.manifest.digest,
        "spec_digest": run.spec.digest(),
        "seed": run.spec.train.seed,
    }
    assert expected.items() <= event.provenance.items()
    json.dumps(dict(event.provenance))


def test_a_complete_run_that_is_resumed_reports_again_without_sampling_again(run, cache, monkeypatch):
    Evaluator(run.spec, run.dataset, cache).handle(complete(run.spec), run)

    def refuse(*arguments, **options):
        raise AssertionError("sampled again")

    monkeypatch.setattr(evaluator, "sample", refuse)
    again = FakeRun(run.spec, cache)
    Evaluator(run.spec, again.dataset, cache).handle(complete(run.spec), again)
    assert again.emitted == run.emitted


def test_other_weights_are_another_report(run, cache):
    first, _ = Evaluator(run.spec, run.dataset, cache).evaluate(run)
    with torch.no_grad():
        next(run.state.generator.parameters()).mul_(3.0)
    second, _ = Evaluator(run.spec, run.dataset, cache).evaluate(run)
    assert first != second


def test_it_leaves_training_as_it_was(run, tmp_path):
    """Modes, weights, running statistics and the global generator."""
    run.state.players["G"].net.train()
    modes = [module.training for player in run.state.players.values() for module in player.net.modules()]
    before = {key: value.clone() for key, value in run.state.tensors().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Evaluator(run.spec, run.dataset, tmp_path).evaluate(run)
    assert torch.rand(1) == expected
    assert modes == [module.training for player in run.state.players.values() for module in player.net.modules()]
    assert all(torch.equal(before[key], value) for key, value in run.state.tensors().items())


def test_references_are_computed_once_per_dataset_extractor_and_count(run, classifier, tmp_path):
    first = reference_features(run.dataset, classifier, tmp_path, run.distributed, count=300)

    def refuse(images):
        raise AssertionError("computed again")

    class Refusing:
        name, digest, resizer = classifier.name, classifier.digest, classifier.resizer
        __call__ = staticmethod(refuse)

    again = reference_features(run.dataset, Refusing(), tmp_path, run.distributed, count=300)
    np.testing.assert_array_equal(first.kept, again.kept)
    np.testing.assert_array_equal(first.moments.scatter, again.moments.scatter)
    with pytest.raises(AssertionError, match="computed again"):
        reference_features(run.dataset, Refusing(), tmp_path, run.distributed, count=299)


def test_the_real_subset_is_fixed_spread_and_never_more_than_there_is():
    assert real_indices(10, 99).tolist() == list(range(10))
    subset = real_indices(1000, 200)
    assert len(set(subset.tolist())) == 200
    assert np.array_equal(subset, real_indices(1000, 200))
    assert np.histogram(subset, bins=4, range=(0, 1000))[0].min() > 30


def test_moments_are_of_all_features_and_single_ones_evenly_spaced(run, monkeypatch):
    monkeypatch.setattr(accumulate, "KEPT", 50)
    table = torch.arange(700.0)[:, None] * torch.tensor([1.0, -2.0])
    found = gather_features(700, lambda start, n: table[start : start + n], run.distributed, keep=True)
    assert found.moments.count == 700
    np.testing.assert_allclose(found.moments.mean, table.numpy().mean(0))
    np.testing.assert_array_equal(found.kept, table[::14].numpy())


@pytest.mark.long
def test_two_workers_give_the_score_of_one_and_of_rank_0s_model(cache, tmp_path, classifier):
    """Ranks hold different running statistics, as after training with DDP; rank 0's are the ones that are published."""
    port = free_port()
    children = [
        context().Process(target=score_as_rank, args=(rank, 2, port, str(cache), str(tmp_path))) for rank in range(2)
    ]
    for child in children:
        child.start()
    alone = FakeRun(small_spec(), cache)
    expected, _ = Evaluator(alone.spec, alone.dataset, tmp_path / "alone").evaluate(alone)
    for child in children:
        child.join(200)
    assert [child.exitcode for child in children] == [0, 0]
    reports = [json.loads(Path(tmp_path, f"{rank}.json").read_text()) for rank in range(2)]
    assert all(report["unchanged"] for report in reports)
    assert reports[0]["scores"] == reports[1]["scores"]
    assert all(report["rows"] == list(range(100)) for report in reports)
    for metric in METRICS:
        assert reports[0]["scores"][metric] == pytest.approx(expected[metric], rel=1e-9, abs=1e-12)


def test_a_finished_model_has_its_truncation_curve(cache):
    """Its last point is the score itself: the same images, statistics and features."""
    spec = small_spec(samples=64, metrics=("fid",), every_steps=4, standing_batches=2, truncations=(1.0, 0.5))
    run = FakeRun(spec, cache)
    listener = Evaluator(spec, run.dataset, cache)
    listener.handle(StepDone(4, 40, last=False), run)
    listener.handle(complete(spec), run)
    before, last = (event.provenance for event in run.emitted)
    assert "truncation_curve" not in before
    assert last["batch_norm"] == f"standing, 2 batches of {spec.train.batch}"
    assert [point["truncation"] for point in last["truncation_curve"]] == [0.5, 1.0, None]
    assert last["truncation_curve"][-1]["fid"] == pytest.approx(run.emitted[-1].scores["fid"], rel=1e-6)
    assert "menable to truncation" in last["truncation_verdict"]
    assert json.loads(json.dumps(last)) == last
