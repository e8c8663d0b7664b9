"""Numbers of more than 8 bits are scaled by what the file says, by a given range, or not at all."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from typer.testing import CliRunner

from trainer.data.__main__ import app
from trainer.data.codec import BadImageError, decode
from trainer.data.prepare import Form, prepared

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def tiff(values: NDArray[np.generic], **tags: object) -> bytes:
    out, info = io.BytesIO(), TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in {int(name[1:]): value for name, value in tags.items()}.items():
        info[number] = value
    Image.fromarray(values).save(out, "TIFF", tiffinfo=info)
    return out.getvalue()


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def levels(encoded: bytes, wanted: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    return decode(prepared(encoded, Form(8, 1, wanted)).png, 8, 1)[0]


def close(found: NDArray[np.uint8], ramp: NDArray[np.float64] = RAMP) -> bool:
    return bool(np.abs(found.astype(float) - 255 * ramp).max() <= 1)


@pytest.mark.parametrize(
    "values",
    [RAMP.astype(np.float32), (RAMP * 255).astype(np.int32), (RAMP * 3000 - 1000).astype(np.int32)],
    ids=["float", "int-0-255", "hounsfield"],
)
def test_an_image_whose_file_does_not_say_what_white_is_is_refused_with_its_values(values: NDArray[np.generic]) -> None:
    low, high = f"{float(values.min()):g}", f"{float(values.max()):g}"
    with pytest.raises(BadImageError, match=rf"numbers \({low} to {high}\), and nothing says .*--range LOW:HIGH"):
        levels(tiff(values))
    assert close(levels(tiff(values), (float(values.min()), float(values.max()))))


def test_full_16_bits_are_scaled_as_they_always_were() -> None:
    deep = (RAMP * 65535).astype(np.uint16)
    for encoded in (saved(Image.fromarray(deep)), tiff(deep), saved(Image.fromarray(deep), "PPM")):
        assert np.array_equal(levels(encoded), deep // 257)


def test_a_range_says_what_is_black_and_white() -> None:
    twelve = (RAMP * 4095).astype(np.uint16)
    assert levels(saved(Image.fromarray(twelve))).max() == 15
    assert close(levels(saved(Image.fromarray(twelve)), (0, 4095)))
    window = levels(saved(Image.fromarray(twelve)), (1000, 2000))
    assert close(window, np.clip((RAMP * 4095 - 1000) / 1000, 0, 1))
    eight = (RAMP * 255).astype(np.uint8)
    assert np.array_equal(
        levels(saved(Image.fromarray(eight)), (0, 4095)), eight
    )  # 8 bits say themselves what they are


def test_tags_of_a_tiff_say_what_is_black_and_white() -> None:
    values = (RAMP * 50 + 10).astype(np.float32)
    assert close(levels(tiff(values, t340=(10.0,), t341=(60.0,))))
    deep = (RAMP * 65535).astype(np.uint16)
    assert close(levels(tiff(deep, t262=0)), 1 - RAMP)  # white is zero


def test_plain_files_of_12_bits_are_scaled_by_their_header() -> None:
    numbers = (RAMP * 4095).astype(int)
    text = "P2\n8 8\n4095\n" + " ".join(str(number) for number in numbers.ravel())
    assert close(levels(text.encode()))


def test_values_that_are_no_numbers_are_refused() -> None:
    values = RAMP.astype(np.float32)
    values[0, 0] = np.nan
    with pytest.raises(BadImageError, match="NaN or infinity"):
        levels(tiff(values), (0, 1))


def test_a_range_is_not_silently_ignored_for_16_bit_colours() -> None:
    header = b"P6\n8 8\n65535\n" + np.zeros((8, 8, 3), dtype=">u2").tobytes()
    assert levels(header).max() == 0
    out = io.BytesIO()
    # Pillow writes no 16-bit RGB: a PNG is put together by hand
    import struct
    import zlib

    rows = b"".join(b"\0" + b"\x01\x00" * 24 for _ in range(8))
    for kind, content in (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        out.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
    png = b"\x89PNG\r\n\x1a\n" + out.getvalue()
    assert levels(png).max() == 1
    with pytest.raises(BadImageError, match="16 bits a colour"):
        levels(png, (0, 4095))


def test_turned_images_keep_their_values() -> None:
    values = np.zeros((4, 8), dtype=np.uint16)
    values[:, :4] = 4095
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", exif=exif)
    found = decode(prepared(out.getvalue(), Form(4, 1, (0, 4095))).png, 4, 1)[0]
    assert (found[:, :2].max(), found[:, 2:].min()) == (0, 255)


@pytest.mark.parametrize("text", ["5", "9:3", "a:b", "0:inf", "1:1"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    run = CliRunner().invoke(app, ["pack", "builtin:digits", "/nowhere", "--range", text], env={"COLUMNS": "200"})
    assert run.exit_code == 2
    assert "give LOW:HIGH with LOW below HIGH" in run.stderr
