"""The promises of trainer.data.order, against a naive walk of its definition."""

from __future__ import annotations

from itertools import count, islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples
from scipy.stats import chisquare

from trainer.data.order import Order, key, permutation, splitmix64

SHARDS = st.lists(st.integers(1, 40), min_size=1, max_size=8)
LANES = st.integers(1, 12)
SHARE = st.integers(1, 5)
SEED = st.integers(0, 2**31 - 1)
PINNED = [[28, 26, 24, 13, 30, 31, 48, 37], [15, 14, 47, 44, 8, 2, 46, 30], [40, 48, 33, 46, 14, 0, 51, 53]]


def positions_to_samples(order: Order, first: int, last: int) -> list[int]:
    return order.at(np.arange(first, last, dtype=np.int64)).tolist()


def naive(digest: str, shards: list[int], seed: int, lanes: int, batch: int, epochs: int) -> list[int]:
    """The definition in the module's docstring, walked row by row with lists."""
    samples, share = sum(shards), batch // lanes
    firsts = [sum(shards[:number]) for number in range(len(shards))]
    found: dict[int, int] = {}
    for epoch in range(epochs):
        row = []
        for shard in permutation(len(shards), key("shards", digest, seed, epoch)):
            inside = permutation(shards[shard], key("samples", digest, seed, epoch, shard))
            row += [firsts[shard] + int(i) for i in inside]
        owned = [
            [p for p in range(epoch * samples, (epoch + 1) * samples) if p % batch // share == lane]
            for lane in range(lanes)
        ]
        for position in (position for lane in owned for position in lane):
            found[position] = row.pop(0)
    return [found[position] for position in range(epochs * samples)]


@given(SHARDS, LANES, SHARE, SEED)
@examples(60)
def test_order_is_what_its_definition_says(shards: list[int], lanes: int, share: int, seed: int) -> None:
    order = Order("d", shards, seed, lanes, lanes * share)
    assert positions_to_samples(order, 0, 3 * sum(shards)) == naive("d", shards, seed, lanes, lanes * share, 3)


@given(SHARDS, LANES, SHARE, SEED, st.integers(0, 10**6))
@examples(60)
def test_each_sample_comes_once_an_epoch(shards: list[int], lanes: int, share: int, seed: int, epoch: int) -> None:
    order, samples = Order("d", shards, seed, lanes, lanes * share), sum(shards)
    assert sorted(positions_to_samples(order, epoch * samples, (epoch + 1) * samples)) == list(range(samples))


@given(SHARDS, LANES, SHARE, SEED, st.integers(0, 10**6))
@examples(60)
def test_every_world_size_gives_the_same_batches(shards: list[int], lanes: int, share: int, seed: int, t: int) -> None:
    whole = Order("d", shards, seed, lanes, lanes * share).rows(t)
    for world in (world for world in range(1, lanes + 1) if lanes % world == 0):
        order = Order("d", shards, seed, lanes, lanes * share)
        parts = [order.rows(t, range(r * lanes // world, (r + 1) * lanes // world)) for r in range(world)]
        assert np.concatenate(parts).tolist() == whole.tolist()


@given(SHARDS, LANES, SHARE, SEED, st.integers(0, 200))
@examples(50)
def test_resume_at_any_batch_continues_alike(shards: list[int], lanes: int, share: int, seed: int, start: int) -> None:
    running, resumed = (Order("d", shards, seed, lanes, lanes * share) for _ in range(2))
    walked = [running.rows(t).tolist() for t in range(start + 5)]
    assert [resumed.rows(t).tolist() for t in range(start, start + 5)] == walked[start:]


@given(SHARDS, LANES, SHARE, SEED)
@examples(50)
def test_a_lane_reads_its_shards_one_after_another(shards: list[int], lanes: int, share: int, seed: int) -> None:
    order, samples = Order("d", shards, seed, lanes, lanes * share), sum(shards)
    ends = np.cumsum(shards)
    positions = np.arange(samples, dtype=np.int64)
    for lane in range(lanes):
        own = positions[positions % order.batch // share == lane]
        visited = np.searchsorted(ends, order.at(own), side="right").tolist()
        runs = [shard for i, shard in enumerate(visited) if i == 0 or visited[i - 1] != shard]
        assert len(runs) == len(set(runs))


def test_order_differs_by_epoch_seed_and_dataset() -> None:
    def epoch(number: int, digest: str = "d", seed: int = 0) -> tuple[int, ...]:
        return tuple(positions_to_samples(Order(digest, [50, 50], seed, 4, 8), number * 100, (number + 1) * 100))

    orders = [*(epoch(number) for number in range(20)), epoch(0, seed=1), epoch(0, digest="e")]
    assert len(set(orders)) == len(orders)


def test_neighbours_in_one_epoch_are_not_neighbours_in_the_next() -> None:
    order = Order("d", [1000], 0, 4, 8)
    first, second = (positions_to_samples(order, e * 1000, (e + 1) * 1000) for e in range(2))
    followers = dict(pairwise(first))
    assert sum(followers.get(a) == b for a, b in pairwise(second)) < 10


def test_splitmix64_gives_the_published_sequence() -> None:
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + k * golden) % 2**64 for k in range(5)], dtype=np.uint64)
    published = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert splitmix64(states).tolist() == published


def test_permutations_are_uniform() -> None:
    drawn = [permutation(4, key("test", number)) for number in range(24_000)]
    counts = np.unique([int("".join(map(str, p))) for p in drawn], return_counts=True)[1]
    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-4


def test_half_of_the_positions_are_mirrored_whatever_the_batch() -> None:
    order = Order("d", [100], 3, 4, 8)
    flips = order.mirrored(np.arange(20_000, dtype=np.int64))
    assert abs(flips.mean() - 0.5) < 0.02
    assert flips[800:].tolist() == order.mirrored(np.arange(800, 20_000, dtype=np.int64)).tolist()


def test_substitutes_depend_on_the_position_alone() -> None:
    one, other = (Order("d", [100, 7], 3, 4, batch) for batch in (8, 8))
    assert list(one.substitutes(5)) == list(other.substitutes(5))
    assert len({tuple(one.substitutes(p)) for p in range(50)}) == 50
    assert all(0 <= sample < 107 for p in range(50) for sample in one.substitutes(p))


def test_the_order_is_the_one_of_earlier_versions() -> None:
    """Jobs that are resumed, or repeated, with a later version must see the same batches."""
    order = Order("0" * 64, [30, 20, 10], 7, 4, 8)
    assert [order.rows(t).tolist() for t in (0, 7, 10**6)] == PINNED


@pytest.mark.parametrize(
    ("lanes", "batch", "shards"), [(3, 8, [1]), (0, 8, [1]), (4, 0, [1]), (4, 8, []), (4, 8, [3, 0])]
)
def test_impossible_orders_are_refused(lanes: int, batch: int, shards: list[int]) -> None:
    with pytest.raises(ValueError, match="must"):
        Order("d", shards, 0, lanes, batch)


def test_batches_larger_than_the_dataset_hold_several_epochs() -> None:
    order = Order("d", [3, 2], 0, 4, 16)
    rows = np.concatenate([order.rows(t) for t in islice(count(), 10)])
    positions = np.concatenate([order.positions(t, range(4)) for t in range(10)])
    for epoch in range(32):
        assert sorted(rows[positions // 5 == epoch].tolist()) == list(range(5))
