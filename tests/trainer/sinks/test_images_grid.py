"""The picture grid against a naive loop."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.images import CELL, MOST_PIXELS, PAD, GridFacts, cut, grid, grid_facts, save_png


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


SHAPES = st.tuples(st.integers(1, 6), st.sampled_from([5, 16, 33, 70]), st.sampled_from([4, 28, 65]))


@given(shape=SHAPES, columns=st.integers(1, 9), channels=st.sampled_from([1, 3]))
def test_every_image_of_a_grid_is_cut_out_as_it_was_drawn(
    shape: tuple[int, int, int], columns: int, channels: int
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (*shape, channels), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        save_png(path, grid(images, columns), GridFacts.of(images, columns, 500, 32_000))
        with path.open("rb") as file:
            facts = grid_facts(file)
            assert facts is not None
            assert (facts.step, facts.images, facts.count) == (500, 32_000, len(images))
            for number, image in enumerate(images):
                found = np.asarray(Image.open(BytesIO(cut(file, facts, number))))
                np.testing.assert_array_equal(found, image.squeeze(-1) if channels == 1 else image)
            for number in (-1, len(images)):
                with pytest.raises(ValueError, match="images 0 to"):
                    cut(file, facts, number)


def test_a_picture_that_says_nothing_or_what_can_not_be_has_no_facts(tmp_path: Path) -> None:
    images = np.zeros((4, 16, 16, 1), np.uint8)
    facts, path = GridFacts.of(images, 2, 1, 64), tmp_path / "a.png"
    wrong = [None, facts.replace(count=9), facts.replace(columns=4), facts.replace(enlarged=3), facts.replace(width=17)]
    for told in wrong:
        save_png(path, grid(images, 2), told)
        with path.open("rb") as file:
            assert grid_facts(file) is None, told
    save_png(path, grid(images, 2), facts)
    whole = path.read_bytes()
    for damaged in (b"", b"no picture", whole[:20], whole.replace(b'"count":4', b'"count":x')):
        assert grid_facts(BytesIO(damaged)) is None


def test_a_damaged_grid_and_one_that_is_too_large_are_not_taken_apart() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1), dtype=np.uint8)
    facts, file = GridFacts.of(images, 2, 1, 64), BytesIO()
    Image.fromarray(grid(images, 2)[..., 0]).save(file, format="PNG")
    with pytest.raises(ValueError, match="damaged"):
        cut(BytesIO(file.getvalue()[:-500]), facts, 3)
    huge = facts.replace(width=4000, height=4000, enlarged=1)
    assert huge.size[0] * huge.size[1] > MOST_PIXELS
    with pytest.raises(ValueError, match="too many"):
        cut(file, huge, 0)
