"""The promises of data.sampling: shares of classes, passes over their images, one order for all world sizes and restarts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.data.manifest import mismatches, read_manifest
from trainer.data.sampling import ROUND, UNKNOWN, NoClassError, WeightedOrder, turns
from trainer.data.stream import open_dataset
from trainer.errors import BadDataError
from trainer.spec import JobSpec, SpecError, parse_spec, with_overrides
from trainer.spec.identity import identity
from trainer.spec.sampling import class_weights

MakeSpec = Callable[..., JobSpec]
WEIGHTS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 7.0]), min_size=1, max_size=6).filter(any)
SEED = st.integers(0, 2**31 - 1)
PINNED = [[28, 4, 17, 6, 1, 7, 29, 5], [17, 18, 16, 23, 24, 15, 7, 9], [15, 0, 9, 6, 10, 27, 19, 25]]


@st.composite
def orders(draw: st.DrawFn) -> tuple[WeightedOrder, np.ndarray, list[float]]:
    weights = draw(WEIGHTS)
    labels = np.array(draw(st.lists(st.integers(0, len(weights) - 1), max_size=60)) + list(range(len(weights))))
    cut = draw(st.integers(1, len(labels)))
    shards = [cut, len(labels) - cut] if cut < len(labels) else [cut]
    lanes, share = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    return WeightedOrder("d", shards, draw(SEED), lanes, lanes * share, labels, weights), labels, weights


def at(order: WeightedOrder, first: int, last: int) -> np.ndarray:
    return order.at(np.arange(first, last, dtype=np.int64))


@given(orders(), st.integers(0, 10**7))
@examples(80)
def test_every_round_holds_the_shares_that_were_asked_for(
    made: tuple[WeightedOrder, np.ndarray, list[float]], number: int
) -> None:
    order, labels, weights = made
    share = turns(weights)
    found = Counter(labels[at(order, number * sum(share), (number + 1) * sum(share))].tolist())
    assert [found[label] for label in range(len(weights))] == share


@given(orders(), st.integers(0, 10**6), st.integers(1, 400))
@examples(80)
def test_every_window_holds_nearly_the_shares_that_were_asked_for(
    made: tuple[WeightedOrder, np.ndarray, list[float]], first: int, length: int
) -> None:
    order, labels, weights = made
    found = np.bincount(labels[at(order, first, first + length)], minlength=len(weights))
    expected = np.array(weights) / sum(weights) * length
    assert np.abs(found - expected).max() <= 3  # a turn at each end may lie anywhere in its stretch


@given(orders(), st.integers(0, 50))
@examples(60)
def test_a_class_shows_each_of_its_images_once_before_any_again(
    made: tuple[WeightedOrder, np.ndarray, list[float]], number: int
) -> None:
    order, labels, weights = made
    for label, share in enumerate(turns(weights)):
        members = np.flatnonzero(labels == label)
        rounds = -(-(number + 1) * len(members) // share) if share else 0
        drawn = [sample for sample in at(order, 0, rounds * sum(turns(weights))).tolist() if labels[sample] == label]
        whole = drawn[number * len(members) : (number + 1) * len(members)]
        assert sorted(whole) == (members.tolist() if share else [])


@given(orders(), st.integers(0, 10**6))
@examples(60)
def test_any_batch_is_the_same_for_every_world_size_and_needs_none_before_it(
    made: tuple[WeightedOrder, np.ndarray, list[float]], t: int
) -> None:
    order, _, _ = made
    whole = [order.rows(batch).tolist() for batch in range(t, t + 3)]
    for world in (world for world in range(1, order.lanes + 1) if order.lanes % world == 0):
        lanes = [range(r * order.lanes // world, (r + 1) * order.lanes // world) for r in range(world)]
        assert np.concatenate([order.rows(t + 2, own) for own in lanes]).tolist() == whole[2]  # without t and t + 1


def small(seed: int = 7, digest: str = "0" * 64) -> WeightedOrder:
    labels = np.array(([0] * 5 + [1] * 3 + [2] * 2) * 3)
    return WeightedOrder(digest, [20, 10], seed, 4, 8, labels, (1.0, 2.0, 1.0))


def test_the_weighted_order_is_the_one_of_earlier_versions() -> None:
    assert [small().rows(t).tolist() for t in (0, 7, 10**6)] == PINNED


def test_the_weighted_order_differs_by_seed_and_dataset() -> None:
    assert len({tuple(at(order, 0, 100).tolist()) for order in (small(), small(seed=8), small(digest="1" * 64))}) == 3


def test_substitutes_are_of_the_same_class() -> None:
    order, labels = small(), np.array(([0] * 5 + [1] * 3 + [2] * 2) * 3)
    for position, sample in enumerate(at(order, 0, 40).tolist()):
        assert {int(labels[other]) for other in order.substitutes(position)} == {int(labels[sample])}


def test_samples_of_unknown_labels_and_classes_without_samples_are_never_drawn() -> None:
    labels = np.array([0, UNKNOWN, 2, UNKNOWN, 2])
    found = Counter(at(WeightedOrder("d", [5], 0, 1, 1, labels, (1.0, 1.0, 1.0)), 0, 400).tolist())
    assert found == {0: 200, 2: 100, 4: 100}
    with pytest.raises(NoClassError):
        WeightedOrder("d", [5], 0, 1, 1, labels, (0.0, 1.0, 0.0))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((1.0, 1.0), [1, 1]), ((0.3, 0.1), [3, 1]), ((2.5, 0.0, 5.0), [1, 0, 2]), ((1000.0, 0.001), [1_000_000, 1])],
)
def test_turns_are_the_smallest_integers_in_the_ratio_of_the_weights(
    weights: tuple[float, ...], expected: list[int]
) -> None:
    assert turns(weights) == expected


def test_a_round_that_would_be_too_long_is_shortened_and_no_class_lost() -> None:
    found = turns((1000.0, 999.999, 0.001))
    assert abs(found[0] - ROUND / 2) < 2
    assert abs(found[1] - ROUND / 2) < 2
    assert found[2] == 1


# -- on shards


def labels_of(path: Path, spec: JobSpec, cache: Path, batches: int) -> list[int]:
    stream = open_dataset(spec, cache_dir=cache).stream(16, 3, 0, 1, 0)
    found = torch.cat([batch.labels for batch in islice(stream, batches)]).tolist()
    stream.close()  # type: ignore[attr-defined]
    return found


def test_a_stream_draws_by_weight_and_gives_each_image_its_own_label(
    digits: Path, make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(digits, sampling="weights", weights={"3": 5, 4: 0, "0": 2})
    found = Counter(labels_of(digits, spec, tmp_path, 14))  # 224 images: 16 rounds of 14
    assert [found[label] for label in range(10)] == [32, 16, 16, 80, 0, 16, 16, 16, 16, 16]


def test_ranks_together_see_the_balanced_batches_of_one(digits: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    dataset = open_dataset(make_spec(digits, sampling="balanced", held_out=100), cache_dir=tmp_path)
    whole, *ranks = (list(islice(dataset.stream(16, 3, rank, world, 5), 4)) for rank, world in ((0, 1), (0, 2), (1, 2)))
    for one, *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]), one.images)
        assert torch.equal(torch.cat([part.labels for part in parts]), one.labels)


def test_a_shard_that_is_skipped_has_no_share(digits: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    broken = shutil.copytree(digits, tmp_path / "broken")
    (broken / "shard-000001.tar").write_bytes(b"no tar")
    with pytest.raises(BadDataError, match=r"shard-000001"):
        open_dataset(make_spec(broken, sampling="balanced"), cache_dir=tmp_path).stream(16, 3, 0, 1, 0)
    spec = make_spec(broken, sampling="balanced", on_bad_shard="skip")
    dataset = open_dataset(spec, cache_dir=tmp_path)
    found = list(islice(dataset.stream(16, 3, 0, 1, 0), 10))
    assert sum(batch.replaced for batch in found) == 0
    assert set(Counter(torch.cat([batch.labels for batch in found]).tolist()).values()) == {16}
    assert set(dataset.skipped) == {"shard-000001.tar"}


@pytest.mark.parametrize(
    ("data", "path", "says"),
    [
        ({"sampling": "weights", "weights": {"11": 2}}, "data.weights.11", "classes: 0, 1, 2"),
        ({"sampling": "weights", "weights": [1, 2]}, "data.weights", "2 weights, and the data 10 classes"),
    ],
)
def test_weights_that_do_not_fit_the_data_are_named_with_its_classes(
    digits: Path, make_spec: MakeSpec, data: dict[str, object], path: str, says: str
) -> None:
    (wrong,) = mismatches(read_manifest(str(digits)), make_spec(digits, **data))
    assert wrong.path == path
    assert says in wrong.line()


@pytest.mark.parametrize(
    "data",
    [
        {"sampling": "weights"},
        {"weights": {"1": 2}},
        {"sampling": "weights", "weights": [0.0] * 10},
        {"sampling": "weights", "weights": {"1": -1}},
        {"sampling": "weights", "weights": {"1": 1e9}},
        {"sampling": "weights", "weights": {}},
        {"url": "builtin:digits", "sampling": "weights", "weights": {"eleven": 2}},
    ],
)
def test_weights_that_mean_nothing_are_refused(make_spec: MakeSpec, data: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=r"data\.weights"):
        make_spec(data.pop("url", "/somewhere"), **data)


def test_names_go_before_numbers_and_classes_that_are_not_named_weigh_one(make_spec: MakeSpec) -> None:
    data = make_spec("/somewhere", sampling="weights", weights={"10": 4, "0": 2}).data
    assert class_weights(data, ("0", "1", "10")) == (2.0, 1.0, 4.0)


def test_a_weight_is_set_by_the_class_name(make_spec: MakeSpec) -> None:
    spec = with_overrides(make_spec("/somewhere"), ["data.sampling=weights", "data.weights.7=3"])
    assert spec.data.weights == {"7": 3.0}


def test_another_sampling_is_another_training_and_the_default_is_that_of_earlier_specs(make_spec: MakeSpec) -> None:
    """A checkpoint isn't carried across: its cursor means other images."""
    natural, balanced = make_spec("/somewhere"), make_spec("/somewhere", sampling="balanced")
    assert identity(natural) != identity(balanced)
    raw = natural.model_dump(mode="json")
    del raw["data"]["sampling"], raw["data"]["weights"]
    assert identity(parse_spec(raw)) == identity(natural)
    few, many = (make_spec("/somewhere", sampling="weights", weights={"1": weight}) for weight in (2, 3))
    assert identity(few) != identity(many)
