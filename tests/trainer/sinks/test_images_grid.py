"""The picture grid against a naive loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.images import CELL, PAD, grid, save_png


@given(
    count=st.integers(1, 6),
    columns=st.integers(1, 15),
    height=st.sampled_from([5, 16, 28, 33, 70]),
    width=st.sampled_from([4, 16, 28, 65]),
    channels=st.sampled_from([1, 3]),
)
def test_every_image_lies_in_its_cell_and_all_else_is_white(
    count: int, columns: int, height: int, width: int, channels: int
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (count, height, width, channels), dtype=np.uint8)
    picture = grid(images, columns)
    factor = 1
    while max(height, width) * (factor + 1) <= CELL:
        factor += 1
    images = np.kron(images, np.ones((1, factor, factor, 1), np.uint8))
    height, width = height * factor, width * factor
    columns = min(columns, count)
    rows = -(-count // columns)
    expected = np.full((rows * (height + PAD) + PAD, columns * (width + PAD) + PAD, channels), 255, np.uint8)
    for i in range(count):
        top, left = PAD + (i // columns) * (height + PAD), PAD + (i % columns) * (width + PAD)
        expected[top : top + height, left : left + width] = images[i]
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize(
    "images",
    [np.zeros((0, 4, 4, 1), np.uint8), np.zeros((2, 4, 4, 1), np.float32), np.zeros((2, 4, 4, 2), np.uint8)],
)
def test_what_is_no_batch_of_images_is_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="grid needs uint8"):
        grid(images, 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_grid_reads_back_pixel_for_pixel_and_leaves_nothing_beside_it(tmp_path, channels: int) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (9, 7, channels), dtype=np.uint8)
    save_png(tmp_path / "samples" / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "samples" / "a.png")), picture.squeeze())
    assert [p.name for p in (tmp_path / "samples").iterdir()] == ["a.png"]
