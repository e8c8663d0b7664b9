"""The nearest training images: exact, of evenly spaced ones, from where they may be read."""

from __future__ import annotations

import numpy as np
import pytest
from asking import arguments
from hypothesis import given
from hypothesis import strategies as st

from trainer.serve import neighbours
from trainer.serve.neighbours import Searched, nearest, open_images
from trainer.serve.refusals import RefusedError
from trainer.serve.wire import Reason


def searched(images: np.ndarray) -> Searched:
    n = len(images)
    return Searched(images, np.arange(n) * 10, np.zeros(n, np.int64), 10 * n, ("a",))


@given(seed=st.integers(0, 1000), k=st.integers(1, 8), block=st.sampled_from([1, 3 * 8 * 12, 1 << 20]))
def test_neighbours_are_those_of_all_pairs_nearest_first(seed, k, block):
    source = np.random.default_rng(seed)
    queries, images = (source.integers(0, 4, (n, 2, 2, 3), dtype=np.uint8) for n in (3, 9))
    before, neighbours.BLOCK = neighbours.BLOCK, block
    try:
        found = nearest(queries, searched(images), k)
    finally:
        neighbours.BLOCK = before
    difference = queries.reshape(3, 1, 12).astype(float) - images.reshape(1, 9, 12)
    every = np.sqrt((difference**2).mean(axis=2)) / 255
    expected = np.argsort((difference**2).sum(axis=2), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.places, expected)
    np.testing.assert_allclose(found.distances, np.take_along_axis(every, expected, axis=1), atol=1e-12)


def test_a_copy_is_at_distance_zero_and_black_to_white_at_one():
    images = np.stack([np.full((4, 4, 1), value, np.uint8) for value in (0, 255)])
    found = nearest(images[:1], searched(images), 2)
    assert found.distances.tolist() == [[0.0, 1.0]]


def test_what_is_looked_at_is_spaced_evenly_and_bounded_by_memory(conditional, monkeypatch):
    spec = conditional.spec
    every = open_images(spec, None, arguments())
    assert len(every.images) == every.total == conditional.dataset.manifest.samples
    images, labels = conditional.dataset.images(np.arange(40))
    np.testing.assert_array_equal(every.images[:40], images.permute(0, 2, 3, 1).numpy())
    np.testing.assert_array_equal(every.labels[:40], labels.numpy())
    few = open_images(spec, None, arguments(memory=1 << 20))
    monkeypatch.setattr(neighbours, "MOST", 10)
    ten = open_images(spec, None, arguments())
    assert len(few.images) <= (1 << 18) // 64
    assert len(ten.images) == 10
    assert (ten.numbers[0], ten.numbers[-1]) == (0, every.total - 1)
    assert np.ptp(np.diff(ten.numbers)) <= 1
    np.testing.assert_array_equal(ten.images, every.images[ten.numbers])


def test_held_out_images_are_none_of_those_trained_on(conditional):
    spec = conditional.spec.replace(data=conditional.spec.data.replace(held_out=100))
    found = open_images(spec, None, arguments())
    assert found.total == found.numbers[-1] + 1 == conditional.dataset.manifest.samples - 100


@pytest.mark.parametrize(
    ("url", "digest", "says"),
    [
        ("/etc", None, "AGON_DATA_ROOTS|outside|may be read|root"),
        ("{root}/none", None, "is missing"),
        ("builtin:digits", "0" * 64, "digest"),
    ],
)
def test_data_that_may_not_be_read_are_not_there_or_are_others_are_refused(conditional, tmp_path, url, digest, says):
    spec = conditional.spec.replace(data=conditional.spec.data.replace(url=url.format(root=tmp_path)))
    with pytest.raises(RefusedError, match=says) as refused:
        open_images(spec, digest, arguments(data_roots=(str(tmp_path),)))
    assert refused.value.refusal.reason is Reason.WRONG


def test_private_hosts_are_asked_only_where_that_is_allowed(conditional):
    spec = conditional.spec.replace(data=conditional.spec.data.replace(url="http://127.0.0.1:9/data"))
    with pytest.raises(RefusedError, match="loopback") as refused:
        open_images(spec, None, arguments())
    assert refused.value.refusal.reason is Reason.WRONG
