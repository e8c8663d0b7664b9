"""Images as files: what is in them, and the same bytes each time."""

from __future__ import annotations

import io
import os
import stat
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from trainer.images import enlarged, grid
from trainer.serve import films, pictures
from trainer.serve.questions import Form
from trainer.serve.refusals import RefusedError
from trainer.serve.wire import Reason

STILL = (Form.PNG, Form.WEBP, Form.PNGS, Form.NPZ)


def images_of(channels: int, n: int = 5, side: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", [Form.PNG, Form.WEBP])
def test_a_picture_is_the_grid_without_loss(channels, form):
    images = images_of(channels)
    opened = Image.open(io.BytesIO(pictures.still(form, images, 3, {})))
    assert opened.format == form.value.upper()
    expected = grid(images, 3)
    np.testing.assert_array_equal(
        np.asarray(opened.convert("RGB")), np.broadcast_to(expected, (*expected.shape[:2], 3))
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_zip_holds_each_image_at_the_models_own_size(channels):
    images = images_of(channels)
    archive = zipfile.ZipFile(io.BytesIO(pictures.still(Form.PNGS, images, 3, {})))
    assert archive.namelist() == [f"{number:06d}.png" for number in range(5)]
    for name, image in zip(archive.namelist(), images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(archive.open(name))).reshape(image.shape), image)


def test_an_npz_holds_the_arrays_and_no_pickle():
    images, z = images_of(3), np.ones((5, 2), np.float32)
    found = np.load(io.BytesIO(pictures.still(Form.NPZ, images, 3, {"z": z, "labels": None})), allow_pickle=False)
    assert set(found) == {"images", "z"}
    np.testing.assert_array_equal(found["images"], images)


@pytest.mark.parametrize("form", [*STILL, "moving webp", "moving gif"])
def test_the_same_images_are_the_same_bytes_at_any_time(form, monkeypatch):
    def make() -> bytes:
        if isinstance(form, Form):
            return pictures.still(form, images_of(3), 2, {"z": np.ones((5, 2))})
        return pictures.moving(Form(form.removeprefix("moving ")), images_of(3), 15)

    first = make()
    later = time.time() + 4e7
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(later))
    assert make() == first


@pytest.mark.parametrize("form", [Form.WEBP, Form.GIF])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_moves_has_every_frame_for_as_long_as_it_should_and_goes_on_for_ever(form, channels):
    frames = images_of(channels, n=4)
    opened = Image.open(io.BytesIO(pictures.moving(form, frames, 10)))
    assert (opened.n_frames, opened.info["loop"], opened.size) == (4, 0, (64, 64))
    for number in range(4):
        opened.seek(number)
        shown = np.asarray(opened.convert("RGB")).astype(int)
        assert opened.info["duration"] == 100
        if form is Form.WEBP:
            np.testing.assert_array_equal(shown, np.broadcast_to(enlarged(frames)[number], (64, 64, 3)))


def test_a_traversals_frames_are_its_columns_with_the_rows_beside_each_other():
    images = images_of(1, n=6)  # two rows of three values
    frames = pictures.abreast(images, 3)
    np.testing.assert_array_equal(frames[1], grid(images[[1, 4]], 2))
    one_row = pictures.abreast(images[:3], 3)
    np.testing.assert_array_equal(one_row[2], enlarged(images[2:3])[0])


def test_a_picture_that_is_too_long_for_webp_is_refused():
    with pytest.raises(RefusedError, match="16383"):
        pictures.still(Form.WEBP, np.zeros((260, 64, 64, 1), np.uint8), 1, {})


def test_without_an_encoder_a_film_is_refused_by_its_form(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RefusedError, match="no encoder") as refused:
        pictures.moving(Form.MP4, images_of(3), 15)
    assert refused.value.refusal.reason is Reason.WRONG
    assert refused.value.refusal.errors[0].path == "form"


def encoder(folder, monkeypatch, script: str) -> None:
    """An encoder that does as the script says; its last argument is where the film goes."""
    path = folder / films.ENCODER
    path.write_text(f"#!/bin/sh\nfor out; do :; done\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_an_encoder_gets_the_frames_as_they_are_and_their_size(tmp_path, monkeypatch):
    encoder(tmp_path, monkeypatch, 'cat > "$out"; echo "$@" > ' + str(tmp_path / "said"))
    frames = images_of(3, n=3)
    assert pictures.moving(Form.MP4, frames, 25) == enlarged(frames).tobytes()
    assert "-pix_fmt rgb24 -s 64x64 -r 25 -i pipe:0" in (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("script", "says"), [("echo no such codec >&2; exit 1", "no such codec"), ("exec sleep 60", "within 0.2 s")]
)
def test_an_encoder_that_fails_or_hangs_is_a_refusal(tmp_path, monkeypatch, script, says):
    encoder(tmp_path, monkeypatch, script)
    monkeypatch.setattr(films, "SECONDS", 0.2)
    with pytest.raises(RefusedError, match=says):
        pictures.moving(Form.MP4, images_of(3), 25)
