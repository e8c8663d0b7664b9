"""`agon sample`: what lies where in its pictures, the latents it saves, and what it says when it can't."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from publish_doubles import CODED, RANGE, SIZE, STEP, make_package, shown, shown_labels
from rich.console import Console
from typer.testing import CliRunner

from trainer.data.pack import Options, pack
from trainer.families.arch import Latent
from trainer.images import CELL, PAD
from trainer.publish import terminal
from trainer.publish.__main__ import app
from trainer.publish.portable.generator import Generator

FACTOR = CELL // SIZE


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("packages")
    return {
        "coded": make_package(root / "coded", CODED),
        "labelled": make_package(root / "labelled", CODED, classes=4),
        "encoding": make_package(root / "encoding", Latent(dim=6), encoder=True),
        "plain": make_package(root / "plain", Latent(dim=6)),
    }


@pytest.fixture
def sample(folders, tmp_path):
    """Run `sample` on one of the packages; the picture's cells as [rows, columns, H, W], or the message."""

    def call(which, *options, fails=False):
        out = tmp_path / "picture.png"
        done = CliRunner().invoke(app, ["sample", str(folders[which]), *map(str, options), "--out", str(out)])
        assert "Traceback" not in done.output
        assert done.exit_code == (1 if fails else 0), done.output
        if fails:
            assert not out.exists()
            return done.output.replace("\n", " ")
        return cells(out)

    return call


def cells(path: Path) -> np.ndarray:
    """The images in a grid, at their own size, [rows, columns, SIZE, SIZE]."""
    pixels = np.asarray(Image.open(path))
    step = SIZE * FACTOR + PAD
    rows, columns = (pixels.shape[0] - PAD) // step, (pixels.shape[1] - PAD) // step
    body = pixels[: rows * step, : columns * step].reshape(rows, step, columns, step).swapaxes(1, 2)
    return body[:, :, PAD::FACTOR, PAD::FACTOR]


def latents(picture: np.ndarray, width: int = CODED.width) -> np.ndarray:
    """z that a picture shows, [rows, columns, Z]."""
    return shown(picture.reshape(-1, SIZE, SIZE), width).reshape(*picture.shape[:2], width)


def test_a_traversal_has_the_codes_values_from_left_to_right_and_another_noise_in_each_row(sample):
    """Chen et al. 2016, Figure 2: one code varies from left to right while the other codes and the noise are fixed."""
    z = latents(sample("coded", "--traverse", "c1"))
    assert z.shape[:2] == (10, 5)
    np.testing.assert_allclose(z[:, :, 4:9], np.broadcast_to(np.eye(5), (10, 5, 5)), atol=STEP)
    others = z[:, :, [0, 1, 2, 3, 9, 10]]
    assert (others == others[:, :1]).all()
    assert len(np.unique(others[:, 0], axis=0)) == 10


def test_a_continuous_code_goes_from_minus_two_to_two(sample):
    z = latents(sample("coded", "--traverse", "c2"))
    np.testing.assert_allclose(z[:, :, 9], np.broadcast_to(np.linspace(-2, 2, 10), (10, 10)), atol=STEP)


def test_of_two_codes_the_second_varies_from_row_to_row_and_nothing_else_does(sample):
    z = latents(sample("coded", "--code", "c2=-1:1:3", "--code", "c1=0..4", "--code", "c3=0.5", "--seed", 4))
    assert z.shape[:2] == (5, 3)
    np.testing.assert_allclose(z[:, :, 9], np.broadcast_to([-1, 0, 1], (5, 3)), atol=STEP)
    np.testing.assert_allclose(z[:, :, 4:9], np.broadcast_to(np.eye(5)[:, None], (5, 3, 5)), atol=STEP)
    np.testing.assert_allclose(z[:, :, 10], 0.5, atol=STEP)
    assert (z[:, :, :4] == z[0, 0, :4]).all()


def test_one_value_of_a_code_holds_for_all_samples(sample):
    z = latents(sample("coded", "-n", 6, "--code", "c1=2"))
    np.testing.assert_allclose(z[:, :, 4:9].reshape(-1, 5), np.tile(np.eye(5)[2], (6, 1)), atol=STEP)
    assert len(np.unique(z[:, :, :4].reshape(6, 4), axis=0)) == 6


def test_labels_are_the_rows_of_samples_and_of_a_traversal(sample):
    for options in (["-n", 8], ["--code", "c2=-1:1:4"]):
        picture = sample("labelled", "--labels", "3,1", *options)
        assert picture.shape[:2] == (2, 4)
        np.testing.assert_array_equal(shown_labels(picture.reshape(-1, SIZE, SIZE)), [3] * 4 + [1] * 4)
    drawn = shown_labels(sample("labelled", "--traverse", "c2").reshape(-1, SIZE, SIZE)).reshape(10, 10)
    assert (drawn == drawn[:, :1]).all()
    assert len(set(drawn[:, 0])) > 1


def test_the_number_of_images_cuts_a_traversal(sample):
    assert sample("coded", "--traverse", "c1", "-n", 20).shape[:2] == (4, 5)
    assert (sample("coded", "--traverse", "c1", "-n", 8)[1, 3:] == 255).all()


def test_saved_latents_are_those_of_the_picture_and_give_it_again(sample, folders, tmp_path):
    first = sample("labelled", "--labels", "0,2", "--code", "c2=0:1:4", "--latents", tmp_path / "z.npz")
    with np.load(tmp_path / "z.npz", allow_pickle=False) as saved:
        np.testing.assert_allclose(latents(first).reshape(8, -1), np.clip(saved["z"], *RANGE), atol=STEP)
        assert saved["labels"].tolist() == [0] * 4 + [2] * 4
    again = sample("labelled", "--from-latents", tmp_path / "z.npz").reshape(-1, SIZE, SIZE)
    np.testing.assert_array_equal(again[:8], first.reshape(-1, SIZE, SIZE))
    ones = sample("labelled", "--from-latents", tmp_path / "z.npz", "--labels", "1", "-n", 4)
    assert shown_labels(ones.reshape(-1, SIZE, SIZE)).tolist() == [1] * 4


def test_latents_alone_can_be_written_and_json_says_where(folders, tmp_path):
    arguments = ["sample", str(folders["plain"]), "-n", "3", "--latents", str(tmp_path / "z"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert json.loads(done.stdout) == {"latents": str(tmp_path / "z"), "model": str(folders["plain"])}
    with np.load(tmp_path / "z", allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["z"], Generator(folders["plain"]).latents(3))


@pytest.fixture
def photos(folders, tmp_path):
    """A folder of three images that the model can make, and what shows their latents."""
    images = Generator(folders["encoding"]).sample(n=3, seed=5)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name, image in zip(("a.png", "b.png", "sub/c.png"), images, strict=True):
        Image.fromarray(image[..., 0]).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos", images[..., 0]


def test_each_row_of_images_stands_above_their_reconstructions(sample, photos, tmp_path):
    folder, images = photos
    picture = sample("encoding", "--encode", folder, "--latents", tmp_path / "z.npz")
    np.testing.assert_array_equal(picture[0], images)
    np.testing.assert_array_equal(picture[1], images)  # this model loses nothing
    with np.load(tmp_path / "z.npz", allow_pickle=False) as saved:
        assert saved["names"].tolist() == ["a.png", "b.png", "sub/c.png"]
        np.testing.assert_allclose(saved["z"], shown(images, 6), atol=1e-5)
    np.testing.assert_array_equal(sample("encoding", "--from-latents", tmp_path / "z.npz")[0], images[:2])


def test_many_images_fill_blocks_of_two_rows_and_the_rest_is_blank(sample):
    picture = sample("encoding", "--encode", "builtin:digits", "-n", 10)
    assert picture.shape[:2] == (4, 8)
    assert (picture[2:, 2:] == 255).all()
    np.testing.assert_allclose(latents(picture[0::2], 6)[0], latents(picture[1::2], 6)[0], atol=STEP)


def test_single_images_and_zips_can_be_encoded_too(sample, photos, tmp_path):
    folder, images = photos
    one = sample("encoding", "--encode", folder / "b.png", "--encode", folder / "a.png")
    np.testing.assert_array_equal(one[0], images[[1, 0]])
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(folder / "a.png", "a.png")
    np.testing.assert_array_equal(sample("encoding", "--encode", tmp_path / "photos.zip")[0], images[:1])


@pytest.fixture
def flat(photos, tmp_path):
    """The same images in one folder, without classes."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for number, image in enumerate(photos[1]):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def test_packed_data_are_encoded_from_their_folder_or_url_the_first_images_of_them(sample, photos, flat, tmp_path):
    pack(str(flat), tmp_path / "packed", Options(workers=1))
    whole = sample("encoding", "--encode", tmp_path / "packed")
    assert sorted(image.tobytes() for image in whole[0]) == sorted(image.tobytes() for image in photos[1])
    first = sample("encoding", "--encode", (tmp_path / "packed").as_uri(), "-n", 2)
    np.testing.assert_array_equal(first[0], whole[0, :2])


def test_packed_data_of_another_size_or_beside_other_images_are_refused_with_the_fix(sample, flat, tmp_path):
    pack(str(flat), tmp_path / "large", Options(workers=1, resolution=16))
    message = sample("encoding", "--encode", tmp_path / "large", fails=True)
    assert "is packed at 16 × 16 grey, and the model takes 8 × 8 grey" in message
    assert "--resolution 8 --channels 1" in message
    message = sample("encoding", "--encode", tmp_path / "large", "--encode", flat, fails=True)
    assert "packed data can't be mixed with others" in message


def test_images_of_another_size_are_fitted_as_the_packer_does_and_it_is_said(folders, photos, tmp_path):
    from trainer.data.codec import decode
    from trainer.data.prepare import prepare

    large = tmp_path / "large.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(large)
    arguments = ["sample", str(folders["encoding"]), "--encode", str(large), "--encode", str(photos[0] / "a.png")]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "x.png")])
    assert "1 of 2 images were not 8 × 8 grey and were fitted" in done.stderr
    np.testing.assert_array_equal(
        cells(tmp_path / "x.png")[0, 0], decode(prepare(large.read_bytes(), SIZE, 1), SIZE, 1)[0]
    )


def test_unreadable_files_in_a_folder_are_left_out_and_named(folders, photos, tmp_path):
    (photos[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    arguments = ["sample", str(folders["encoding"]), "--encode", str(photos[0]), "--out", str(tmp_path / "x.png")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "left out: broken.png starts like an image and is damaged" in done.stderr


def test_a_picture_of_a_part_says_so(folders, tmp_path):
    arguments = [
        "sample",
        str(folders["encoding"]),
        "--encode",
        "builtin:digits",
        "-n",
        "4",
        "--out",
        str(tmp_path / "x.png"),
    ]
    assert "1,797 images are there; 4 of them, evenly spaced, are used" in CliRunner().invoke(app, arguments).stderr


def test_what_a_model_can_not_do_is_said_with_what_to_do(sample, photos, tmp_path):
    folder, _ = photos
    (tmp_path / "bad.npz").write_bytes(b"no arrays")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "narrow.npz", z=np.zeros((2, 3)))
    np.savez(tmp_path / "z.npz", z=np.zeros((2, CODED.width)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    for which, options, expected in (
        ("plain", ["--traverse", "c1"], "family double has no latent codes; families that have: infogan"),
        ("plain", ["--code", "c1=3"], "family double has no latent codes"),
        (
            "plain",
            ["--encode", folder],
            "family double has no encoder, so images can't be encoded; families that have:",
        ),
        ("coded", ["--code", "c1=5"], "code c1 is 5"),
        ("coded", ["--code", "c1=3", "--traverse", "c1"], "code c1 is named twice"),
        ("labelled", ["--traverse", "c1", "--traverse", "c2", "--labels", "0,1"], "give one label"),
        ("encoding", ["--encode", folder, "--seed", 3], "--seed can't be given with it"),
        (
            "encoding",
            ["--encode", folder, "--from-latents", tmp_path / "z.npz"],
            "--from-latents can't be given with it",
        ),
        ("coded", ["--from-latents", tmp_path / "z.npz", "--code", "c1=1"], "--code can't be given with it"),
        ("encoding", ["--encode", tmp_path / "nothing"], "no such folder, zip or tar"),
        ("encoding", ["--encode", tmp_path / "empty"], "no images there"),
        ("encoding", ["--encode", tmp_path / "text.png"], "text.png: is no image in a format that is read"),
        ("plain", ["--from-latents", tmp_path / "nothing.npz"], "no such file"),
        ("plain", ["--from-latents", tmp_path / "bad.npz"], "is no .npz or .npy of numbers"),
        ("plain", ["--from-latents", tmp_path / "other.npz"], "holds x, but no array z"),
        ("plain", ["--from-latents", tmp_path / "narrow.npz"], "z has shape [2, 3]; give finite numbers [n, 6]"),
        ("labelled", ["--from-latents", tmp_path / "z.npz"], "labels is missing"),
    ):
        assert expected in sample(which, *options, fails=True), options


def test_something_must_be_written(folders):
    done = CliRunner().invoke(app, ["sample", str(folders["plain"])])
    assert done.exit_code == 1
    assert "give --out PICTURE.png, or --latents FILE.npz" in done.output


def _sampled(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["sample", *map(str, arguments)])
    assert "Traceback" not in done.output
    return f"{done.exit_code} {done.output}"


def test_a_folder_gets_each_image_of_the_picture_as_a_png_of_its_own(folders, tmp_path):
    """The same images, a batch of the net at a time, with their labels as `agon data pack` reads them."""
    out, rest = tmp_path / "new" / "images", ("-n", 12, "--seed", 3, "--labels", "2,0,1")
    said = _sampled(folders["labelled"], *rest, "--out", f"{out}/")
    assert said.startswith("0 ")
    assert f"made {out}" in said
    files = sorted(out.glob("*.png"))
    assert [path.name for path in files] == [f"{number:06d}.png" for number in range(12)]
    picture = tmp_path / "picture.png"
    assert _sampled(folders["labelled"], *rest, "--out", picture).startswith("0 ")
    alone = np.stack([np.asarray(Image.open(path)) for path in files])
    assert (cells(picture).reshape(-1, SIZE, SIZE) == alone).all()
    packed = pack(str(out), tmp_path / "packed", Options(resolution=SIZE))
    assert [item.manifest.samples for item in packed] == [12]
    assert packed[0].manifest.classes == ("0", "1", "2")
    table = (out / "labels.csv").read_text().split()
    assert table[0] == "file,label"
    assert table[1:6] == [f"{number:06d}.png,2" for number in range(4)] + ["000004.png,0"]


def test_many_images_come_a_batch_at_a_time(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(Generator, "batch", 5)
    sizes = []
    images = Generator._images
    monkeypatch.setattr(
        Generator,
        "_images",
        lambda self, z, labels, statistics: (sizes.append(len(z)), images(self, z, labels, statistics))[1],
    )
    assert _sampled(folders["plain"], "-n", 12, "--out", f"{tmp_path / 'images'}/").startswith("0 ")
    assert _sampled(folders["plain"], "-n", 12, "--out", tmp_path / "one.png").startswith("0 ")
    assert sizes == [5, 5, 2, 5, 5, 2]
    assert not (tmp_path / "images" / "labels.csv").exists()


def test_a_folder_that_holds_images_and_what_belongs_in_one_picture_are_refused(folders, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "000000.png").write_bytes(b"")
    assert "holds images already" in _sampled(folders["plain"], "--out", taken)
    for options in (("--latents", tmp_path / "z.npz"), ("--encode", taken)):
        assert f"without {options[0]}" in " ".join(
            _sampled(folders["encoding"], *options, "--out", f"{tmp_path}/x/").split()
        )
    assert "codes that vary" in _sampled(folders["coded"], "--traverse", "c1", "--out", f"{tmp_path}/x/")
    assert "is a file" in _sampled(folders["plain"], "--out", f"{taken}/000000.png/")
    assert not (tmp_path / "x").exists()


def test_missing_folders_of_a_picture_and_its_latents_are_made_with_a_word(folders, tmp_path):
    said = _sampled(folders["plain"], "--out", tmp_path / "a" / "b.png", "--latents", tmp_path / "c" / "z.npz")
    assert f"made {tmp_path / 'a'}" in said
    assert f"made {tmp_path / 'c'}" in said


def test_a_terminal_sees_how_far_a_long_drawing_is(monkeypatch):
    bars = []

    class Terminal(Console):
        is_terminal = True

    monkeypatch.setattr(terminal, "Console", lambda **_: bars.append(Terminal(file=io.StringIO(), width=80)) or bars[0])
    with terminal.progress("drawing") as told:
        told(1500, 5000)
    assert "1500/5000" in bars[0].file.getvalue()
