"""The gate's promises, for any two versions."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.publish.gate import LOWER_IS_BETTER, Standing, judge
from trainer.publish.registry import score_tags, standing

metrics = st.sampled_from(["fid", "kid", "precision", "recall"])
"""Distances between features; `reconstruction` is one between pixels."""
any_metric = metrics | st.just("reconstruction")
scores = st.one_of(st.none(), st.floats(), st.floats(0, 100))
digests = st.one_of(st.none(), st.sampled_from(["a" * 64, "b" * 64]))


def standings(version: str) -> st.SearchStrategy[Standing]:
    return st.builds(Standing, st.just(version), scores, digests, digests, st.sampled_from([None, "10/10", "20/10"]))


def known(version: str) -> st.SearchStrategy[Standing]:
    """Versions that can be compared with each other."""
    return st.builds(Standing, st.just(version), st.floats(0, 1e6), st.just("a"), st.just("b"), st.just("10/10"))


fast = settings(deadline=None)


@fast
@given(any_metric, known("2"), known("1"))
def test_between_comparable_versions_the_strictly_better_one_is_champion(metric, challenger, incumbent):
    lower = metric in LOWER_IS_BETTER
    better = challenger.score < incumbent.score if lower else challenger.score > incumbent.score
    assert judge("better", metric, challenger, incumbent).champion == better


@fast
@given(metrics, standings("2"), standings("1"))
def test_the_champion_never_moves_between_different_data_extractors_or_sample_counts(metric, challenger, incumbent):
    same = (challenger.dataset_digest, challenger.extractor_digest, challenger.samples) == (
        incumbent.dataset_digest, incumbent.extractor_digest, incumbent.samples
    )  # fmt: skip
    if not same or challenger.dataset_digest is None or challenger.extractor_digest is None:
        assert not judge("better", metric, challenger, incumbent).champion


@fast
@given(st.builds(Standing, st.just("2"), st.floats(0, 9), digests, digests, st.sampled_from(["10/10", "20/10"])))
def test_reconstructions_compare_on_the_same_images_whatever_the_extractor(challenger):
    incumbent = Standing("1", 10.0, "a" * 64, None, "10/10")
    same = challenger.dataset_digest == incumbent.dataset_digest and challenger.samples == incumbent.samples
    assert judge("better", "reconstruction", challenger, incumbent).champion == same
    assert not judge("better", "fid", challenger, incumbent).champion


@fast
@given(st.sampled_from(["better", "always", "never"]), metrics, standings("2"), st.none() | standings("1"))
def test_what_is_not_finite_never_wins(gate, metric, challenger, incumbent):
    if challenger.score is not None and not math.isfinite(challenger.score):
        assert not judge(gate, metric, challenger, incumbent).champion


@fast
@given(metrics, known("2"), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_champion_whose_score_is_not_finite_loses_to_any_that_is(metric, challenger, wrong):
    assert judge("better", metric, challenger, Standing("1", wrong, "a", "b", "10/10")).champion


@fast
@given(metrics, known("1"))
def test_the_first_version_is_champion(metric, challenger):
    assert judge("better", metric, challenger, None).champion
    assert judge("always", metric, challenger, None).champion


@fast
@given(metrics, standings("2"), st.none() | standings("1"))
def test_never_means_never_and_always_means_any_finite_score(metric, challenger, incumbent):
    assert not judge("never", metric, challenger, incumbent).champion
    if challenger.score is None or math.isfinite(challenger.score):
        assert judge("always", metric, challenger, incumbent).champion


@fast
@given(st.sampled_from(["better", "always", "never"]), metrics, standings("2"), st.none() | standings("1"))
def test_every_verdict_is_a_sentence_that_names_the_version(gate, metric, challenger, incumbent):
    verdict = judge(gate, metric, challenger, incumbent)
    assert verdict.reason.startswith("version 2 is ")
    assert verdict.reason.startswith("version 2 is champion") == verdict.champion
    assert "\n" not in verdict.reason


@fast
@given(metrics, known("7"))
def test_judging_the_champion_again_changes_nothing(metric, version):
    assert judge("better", metric, version, version).champion


@fast
@given(st.floats(allow_nan=False), st.integers(1, 99))
def test_a_standing_survives_its_way_through_tags(score, samples):
    provenance = {"dataset_digest": "a" * 64, "extractor_digest": "b" * 64, "samples": samples, "real_samples": 7}
    tags = score_tags("fid", {"fid": score}, provenance)
    assert standing("3", tags, "fid") == Standing("3", score, "a" * 64, "b" * 64, f"{samples}/7")


def test_a_version_of_another_publisher_can_not_be_compared():
    verdict = judge("better", "fid", Standing("2", 1.0, "a", "b", "10/10"), standing("1", {}, "fid"))
    assert not verdict.champion
    assert "which has no fid" in verdict.reason
