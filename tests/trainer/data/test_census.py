"""All images are looked at, and what stands out is told: when they are packed, and when they are checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from trainer.data.__main__ import app
from trainer.data.census import see_pixels, unfit
from trainer.data.check import check
from trainer.data.manifest import mismatches, read_manifest
from trainer.data.pack import Options, Packed, pack
from trainer.errors import BadDataError
from trainer.families.table import NAMES, arch_classes, can_be, resolutions
from trainer.spec import JobSpec

RNG = np.random.default_rng(0)


def noise(*shape: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def packed(root: Path, images: dict[str, NDArray[np.uint8]], **options: object) -> Packed:
    for name, pixels in images.items():
        (root / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "s" / name)
    (item,) = pack(str(root / "s"), root / "out", Options(workers=1, **options))  # type: ignore[arg-type]
    return item


def many(count: int = 90, *shape: int) -> dict[str, NDArray[np.uint8]]:
    return {f"{number % 2}/{number:03d}.png": noise(*(shape or (16, 16))) for number in range(count)}


def test_black_constant_empty_and_equal_images_are_counted_and_told(tmp_path: Path) -> None:
    dot = np.full((16, 16), 200, dtype=np.uint8)
    dot[3, 3] = 0
    images = many()
    odd = {"0/black.png": np.full((16, 16), 3, np.uint8), "0/white.png": np.full((16, 16), 255, np.uint8), "1/dot.png": dot,
           "0/copy.png": images["0/000.png"], "1/copy.png": images["0/000.png"]}  # fmt: skip
    found = packed(tmp_path, images | odd)
    census = found.census
    assert (census.images, census.black, census.constant, census.empty, census.copies, census.torn) == (
        95,
        1,
        1,
        1,
        2,
        1,
    )
    told = " · ".join(found.warnings)
    for text in ("1 image is black (such as 0/black.png)", "1 image is of one colour (such as 0/white.png)",
                 "1 image is nearly empty (such as 1/dot.png)", "2 images are copies of others",
                 "1 picture comes with several labels"):  # fmt: skip
        assert text in told
    checked = check(str(tmp_path / "out"), decode=True)
    for text in ("1 image is black (such as sample ", "1 image is nearly empty", "2 images are copies of others"):
        assert any(text in warning for warning in checked.warnings)
    assert not any("black" in warning for warning in check(str(tmp_path / "out")).warnings)  # nothing was decoded
    run = CliRunner().invoke(app, ["check", str(tmp_path / "out"), "--decode"])
    assert run.exit_code == 0
    assert "warning: 1 image is black" in run.stderr


def test_ordinary_images_give_no_warning(tmp_path: Path, digits: Path) -> None:
    found = packed(tmp_path, many())
    assert found.warnings == ()
    assert check(str(digits), decode=True).warnings == ()
    stroke = np.zeros((28, 28), dtype=np.uint8)
    stroke[4:24, 13:15] = 255
    assert not see_pixels(stroke[:, :, None]).empty  # a thin 1 of MNIST
    sparse = np.full((28, 28, 3), 250, dtype=np.uint8)
    assert not see_pixels(sparse).empty  # constant, and told as that
    sparse[0, 0, 2] = 0
    assert see_pixels(sparse).empty


def test_one_colour_image_among_grey_ones_is_enough(tmp_path: Path) -> None:
    images = many(200) | {"0/colour.png": noise(16, 16, 3)}
    found = packed(tmp_path, images)
    assert (found.manifest.channels, found.census.plain) == (3, 200)
    asked = pack(str(tmp_path / "s"), tmp_path / "grey", Options(channels=1))[0]
    assert (asked.manifest.channels, asked.census.greyed) == (1, 1)


def test_one_image_of_another_size_is_enough(tmp_path: Path) -> None:
    images = many(200) | {"0/large.png": noise(40, 40)}
    with pytest.raises(BadDataError, match=r"images differ in size \(16 to 40 px\); choose one with --resolution"):
        packed(tmp_path, images)
    assert not (tmp_path / "out").exists()
    found = packed(tmp_path, {}, resolution=32)
    assert (found.census.shrunk, found.census.enlarged, found.census.smallest, found.census.largest) == (1, 200, 16, 40)
    assert any("200 images are smaller than 32 px and were enlarged (such as" in warning for warning in found.warnings)


def test_all_splits_are_of_one_form(tmp_path: Path) -> None:
    images = {f"train/{number}.png": noise(16, 16) for number in range(200)} | {"test/1.png": noise(16, 16, 3)}
    for name, pixels in images.items():
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "s" / name)
    assert {item.split: item.manifest.channels for item in pack(str(tmp_path / "s"), tmp_path / "out")} == {
        "train": 3,
        "test": 3,
    }


def test_strips_animations_and_narrow_values_are_told(tmp_path: Path) -> None:
    found = packed(
        tmp_path, {f"{at % 2}/{at}.png": (noise(16, 40) // 16).astype(np.uint8) for at in range(9)}, resolution=16
    )
    Image.fromarray(noise(16, 16)).save(
        tmp_path / "s" / "0" / "film.gif", save_all=True, append_images=[Image.fromarray(noise(16, 16))]
    )
    assert any("9 images are twice as long as wide or more (such as" in warning for warning in found.warnings)
    assert any(
        "all 9 images use less than an eighth of the grey levels" in w and "--range" in w for w in found.warnings
    )
    again = pack(str(tmp_path / "s"), tmp_path / "again", Options(resolution=16, workers=1))[0]
    assert any(
        "1 image is an animation (such as 0/film.gif): only the first frame" in warning for warning in again.warnings
    )


def test_grey_images_stored_in_colour_are_told(tmp_path: Path) -> None:
    grey = {name: np.repeat(pixels[:, :, None], 3, axis=2) for name, pixels in many(10).items()}
    found = packed(tmp_path, grey)
    assert found.manifest.channels == 3
    assert any("all images are grey" in warning and "--channels 1" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (
            48,
            "no family has nets of 48 px, only of 8, 16, 28, 32, 64, 128; 256: biggan, biggan-deep; 512: biggan, biggan-deep; pack again",
        ),
        (48, "with --resolution 32"),
        (100, "with --resolution 64"),
        (256, "of 256 px only biggan and biggan-deep have nets"),
        (64, ""),
    ],
)
def test_sizes_that_no_family_or_few_have_are_told_with_those_that_can(size: int, text: str) -> None:
    found = " ".join(unfit(size))
    assert text in found
    assert bool(found) == bool(text)


def test_the_sizes_of_families_are_those_that_their_specs_accept() -> None:
    for resolution in (8, 28, 48, 64, 100, 256, 500, 512):
        for name, arch in zip(NAMES, arch_classes(), strict=True):
            assert can_be(arch, resolution) == (name in resolutions().get(resolution, ()))
    assert not can_be(arch_classes()[0], 4)


def test_packing_and_checking_a_size_without_a_family_warns(tmp_path: Path) -> None:
    found = packed(tmp_path, many(4, 48, 48))
    assert any("no family has nets of 48 px" in warning for warning in found.warnings)
    assert any("no family has nets of 48 px" in warning for warning in check(str(tmp_path / "out")).warnings)


def test_a_mismatch_does_not_advise_what_the_family_cannot_be(
    tmp_path: Path, make_spec: Callable[..., JobSpec]
) -> None:
    packed(tmp_path, many(4, 48, 48))
    manifest = read_manifest(str(tmp_path / "out"))
    (wrong,) = mismatches(manifest, make_spec(tmp_path / "out", resolution=16, classes=2))
    assert (wrong.path, wrong.fix) == ("arch.resolution", "pack the data again with --resolution 16")
