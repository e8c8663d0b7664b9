"""Ways between latents, against their closed forms; and what paths and traversals make of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.serve.curves import way

vectors = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3).map(lambda v: np.array(v, np.float32))


def test_slerp_of_unit_vectors_is_the_great_circle_at_even_angles():
    found = way("slerp", np.array([1.0, 0.0]), np.array([0.0, 1.0]), 5)
    angles = np.linspace(0, np.pi / 2, 5)
    np.testing.assert_allclose(found, np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-6)


def test_slerp_follows_the_papers_formula_for_vectors_of_other_lengths():
    a, b, t = np.array([3.0, 0.0, 0.0]), np.array([1.0, 2.0, 2.0]), 0.3
    theta = np.arccos(1 / 3)
    expected = (np.sin((1 - t) * theta) * a + np.sin(t * theta) * b) / np.sin(theta)
    np.testing.assert_allclose(way("slerp", a, b, 11)[3], expected, atol=1e-6)


def test_lerp_is_straight():
    np.testing.assert_allclose(way("lerp", np.zeros(2), np.array([4.0, 8.0]), 3)[1], [2.0, 4.0])


@given(a=vectors, b=vectors, curve=st.sampled_from(["slerp", "lerp"]), points=st.integers(2, 9))
def test_a_way_begins_and_ends_at_its_ends_to_the_bit_and_stays_finite(a, b, curve, points):
    found = way(curve, a, b, points)
    assert found.shape == (points, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[[0, -1]], [a, b])
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1e5


@pytest.mark.parametrize("factor", [1.0, 2.0, 1.0 + 1e-7, -1.0, 0.0])
def test_vectors_of_one_line_are_joined_by_it(factor):
    a = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(way("slerp", a, factor * a, 3)[1], (1 + factor) / 2 * a, atol=1e-6)
