"""What stays of checkpoints: the newest, the best, one of every so many images; however often it is applied."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.retention import Keep, kept, superseded
from trainer.spec.sections import Checkpointing

KEEP = st.builds(Keep, st.integers(1, 5), st.integers(0, 4), st.none() | st.integers(1, 40))
SAVED = st.dictionaries(st.integers(0, 60), st.just(None), max_size=25).map(
    lambda found: {step: 3 * step for step in found}
)
BEST = st.lists(st.integers(0, 60), unique=True, max_size=6)


@given(SAVED, BEST, KEEP)
@examples(60)
def test_newest_best_and_one_of_every_stretch_stay_and_nothing_else(saved, best, keep):
    gone = superseded(saved, best, keep)
    stay = saved.keys() - set(gone)
    newest, ranked = set(sorted(saved)[-keep.last :]), set(best[: keep.best]) & saved.keys()
    assert newest | ranked <= stay
    assert kept(saved, best, keep).keys() == stay
    every = keep.every_images
    stretches = {images // every for images in saved.values() if images >= every} if every else set()
    firsts = {min(step for step in saved if saved[step] // every == number) for number in stretches}
    assert stay == newest | ranked | firsts
    assert gone == sorted(gone)


@given(SAVED, BEST, KEEP)
def test_what_stays_stays(saved, best, keep):
    stay = {step: images for step, images in saved.items() if step not in superseded(saved, best, keep)}
    assert superseded(stay, best, keep) == []


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), KEEP)
def test_applied_at_each_save_it_keeps_what_it_keeps_applied_once(gaps, keep):
    """Which of a stretch stays doesn't depend on when one looks. Without scores: these come later than their checkpoints."""
    saved, left, step = {}, {}, 0
    for gap in gaps:
        step += gap
        saved[step] = left[step] = 3 * step
        for gone in superseded(left, (), keep):
            del left[gone]
    assert left.keys() == saved.keys() - set(superseded(saved, (), keep))


@given(SAVED, BEST, KEEP, KEEP)
def test_within_another_policy_no_more_stays_of_any_kind(saved, best, keep, other):
    both = keep.within(other.last, other.best, other.every_images)
    assert (both.last, both.best) == (min(keep.last, other.last), min(keep.best, other.best))
    assert keep.within() == keep
    assert both.every_images is None if keep.every_images is None else both.every_images >= keep.every_images
    without_stretches = Keep(keep.last, keep.best), Keep(both.last, both.best)
    assert kept(saved, best, without_stretches[1]).keys() <= kept(saved, best, without_stretches[0]).keys()


def test_where_the_images_are_not_known_a_checkpoint_counts_as_new_or_best_alone():
    assert kept({1: None, 2: 100, 3: None}, [1], Keep(1, 1, 50)) == {
        1: "one of the best",
        2: "one of every so many images",
        3: "one of the newest",
    }


@pytest.mark.parametrize(("given_", "best"), [("true", 1), ("off", 0), ("2", 2)])
def test_what_was_taken_as_text_is_taken_still(given_, best):
    assert Checkpointing.model_validate({"keep_best": given_}).keep.best == best


@pytest.mark.parametrize(("given_", "best"), [(True, 1), (False, 0), (0, 0), (1, 1), (5, 5)])
def test_old_specs_say_whether_new_ones_how_many_best(given_, best):
    spec = Checkpointing.model_validate({"keep_best": given_})
    assert (spec.keep.best, spec.keep_best, type(spec.keep_best)) == (best, given_, type(given_))
    assert spec.model_dump(mode="json")["keep_best"] is given_
    assert Checkpointing.model_validate({}).keep == Keep(3, 1)
