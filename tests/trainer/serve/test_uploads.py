"""Uploaded images: fitted as the packer does it, and hostile ones refused by number, at little cost."""

from __future__ import annotations

import base64
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from asking import file_of
from PIL import Image

from trainer.data.codec import decode
from trainer.data.prepare import prepare
from trainer.serve import uploads
from trainer.serve.refusals import WrongError


def bytes_of(image: np.ndarray, form: str = "PNG", **options) -> bytes:
    return base64.b64decode(file_of(image, form, **options))


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many black pixels, in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(1 + 3 * width)) for _ in range(min(height, 300))) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_an_image_of_the_models_size_keeps_its_pixels():
    image = noise(8, 8)
    np.testing.assert_array_equal(uploads.read([bytes_of(image)], 8, 3), image[None])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_others_are_fitted_as_the_packer_does_it(form, channels):
    content = bytes_of(noise(20, 31), form)
    packed = decode(prepare(content, 8, channels), 8, channels).transpose(1, 2, 0)
    np.testing.assert_array_equal(uploads.read([content], 8, channels)[0], packed)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"<svg/>",
        b"GIF89a",
        bytes_of(noise(9, 9))[:60],
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"RIFF0000WEBPVP8 " * 9,
    ],
    ids=["zero", "svg", "gif", "cut", "png", "webp"],
)
def test_what_is_no_image_is_refused_by_its_number_beside_those_that_are(content):
    good = bytes_of(noise(8, 8))
    with pytest.raises(WrongError) as refused:
        uploads.read([good, content, good, content], 8, 3)
    assert [error.path for error in refused.value.refusal.errors] == ["images.1", "images.3"]
    assert all(error.message for error in refused.value.refusal.errors)


@pytest.mark.parametrize("size", [(5000, 5000), (60_000, 60_000), (17_000_000, 1)])
def test_a_decompression_bomb_costs_its_header(size):
    content = bomb(*size)
    tracemalloc.start()
    try:
        with pytest.raises(WrongError) as refused:
            uploads.read([content], 8, 3)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(content) + 4_000_000
    finally:
        tracemalloc.stop()
    assert refused.value.refusal.errors[0].path == "images.0"


def test_a_file_that_says_one_thing_and_is_another_is_refused():
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    lying = bytearray(out.getvalue())
    lying[16:24] = struct.pack(">II", 4000, 4000)  # width and height, with a wrong checksum
    with pytest.raises(WrongError):
        uploads.read([bytes(lying)], 8, 3)
