"""What the packer promises: the right pixels, the same bytes, nothing half finished, nothing silent."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from trainer.data import workers
from trainer.data.__main__ import app
from trainer.data.check import check
from trainer.data.codec import BadImageError, decode
from trainer.data.locate import locate
from trainer.data.manifest import manifest_at, read_manifest
from trainer.data.pack import Options, pack
from trainer.data.prepare import prepare
from trainer.data.reader import Reader
from trainer.data.shards import ShardStore
from trainer.errors import BadDataError

RNG = np.random.default_rng(0)


def save(path: Path, pixels: NDArray[np.uint8] | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = RNG.integers(0, 256, (8, 8), dtype=np.uint8) if pixels is None else pixels
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """cat/ and dog/ with 6 and 4 random grey 8×8 images."""
    for number in range(10):
        save(tmp_path / "source" / ("cat" if number < 6 else "dog") / f"{number}.png")
    return tmp_path / "source"


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def images(out: Path) -> list[tuple[bytes, int]]:
    """Pixels and label of every sample, sorted."""
    location = locate(str(out))
    manifest = manifest_at(location)
    reader = Reader(ShardStore(location, manifest, out.parent / "cache"), skip=False)
    found, labels = reader.read(np.arange(manifest.samples), lambda row: ())
    return sorted((image.tobytes(), int(label)) for image, label in zip(found, labels, strict=True))


def test_class_folders_become_labels(folder: Path, tmp_path: Path) -> None:
    (packed,) = pack(str(folder), tmp_path / "out")
    manifest = read_manifest(str(tmp_path / "out"))
    assert packed.manifest == manifest
    assert (manifest.classes, manifest.class_counts) == (("cat", "dog"), (6, 4))
    assert (manifest.resolution, manifest.channels, manifest.samples, manifest.name) == (8, 1, 10, "source")
    expected = [
        (np.asarray(Image.open(path)).tobytes(), int(path.parent.name == "dog")) for path in folder.rglob("*.png")
    ]
    assert images(tmp_path / "out") == sorted(expected)


@pytest.mark.long
def test_the_same_images_give_the_same_bytes_whatever_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SERIAL", 0)
    for number in range(300):
        save(tmp_path / "source" / str(number % 3) / f"{number}.png")
    outs = []
    for processes in (1, 2, 3):
        outs.append(contents(tmp_path / "out") if (tmp_path / "out").exists() else {})
        out = tmp_path / f"out{processes}"
        pack(str(tmp_path / "source"), out, Options(workers=processes, shard_size=200_000, name="x"))
        outs.append(contents(out))
    made = [out for out in outs if out]
    assert len(made) == 3
    assert made[0] == made[1] == made[2]
    assert len([name for name in made[0] if name.endswith(".tar")]) > 2


def test_a_zip_gives_what_its_folder_gives(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "source.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in folder.rglob("*.png"):
            zipped.write(path, f"wrapping/{path.relative_to(folder)}")
        zipped.writestr("__MACOSX/wrapping/cat/._1.png", b"junk")
        zipped.writestr("wrapping/readme.txt", b"hello")
    one, other = pack(str(folder), tmp_path / "a")[0], pack(str(archive), tmp_path / "b")[0]
    assert one.manifest.digest == other.manifest.digest


def test_splits_become_datasets_with_the_same_classes(tmp_path: Path) -> None:
    for name in ("train/a/1", "train/b/2", "train/b/3", "test/b/4"):
        save(tmp_path / "source" / f"{name}.png")
    packed = pack(str(tmp_path / "source"), tmp_path / "out")
    assert {item.split: item.manifest.class_counts for item in packed} == {"train": (1, 2), "test": (0, 1)}
    assert read_manifest(str(tmp_path / "out" / "test")).classes == ("a", "b")
    assert any("no images of 1 of 2 classes: a" in warning for item in packed for warning in item.warnings)
    (only,) = pack(str(tmp_path / "source"), tmp_path / "only", Options(split="train"))
    assert read_manifest(str(tmp_path / "only")).digest == only.manifest.digest
    with pytest.raises(BadDataError, match=r"no such split; splits: .*train"):
        pack(str(tmp_path / "source"), tmp_path / "none", Options(split="val"))


def test_a_split_without_labels_is_packed_beside_one_with_labels(tmp_path: Path) -> None:
    for name in ("train/a/1", "train/b/2", "test/3"):
        save(tmp_path / "source" / f"{name}.png")
    found = {item.split: item for item in pack(str(tmp_path / "source"), tmp_path / "out")}
    assert {split: item.manifest.classes for split, item in found.items()} == {"train": ("a", "b"), "test": ()}
    warning = "split test has no labels: it is packed without classes"
    assert (warning in found["test"].warnings, warning in found["train"].warnings) == (True, False)


def test_shards_are_plain_webdataset_tars(folder: Path, tmp_path: Path) -> None:
    pack(str(folder), tmp_path / "out")
    samples = list(webdataset.WebDataset(str(tmp_path / "out" / "shard-000000.tar"), shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == [f"{number:09d}" for number in range(10)]
    assert sorted((np.asarray(s["png"])[..., 0].tobytes(), s["cls"]) for s in samples) == images(tmp_path / "out")


def test_each_shard_mixes_the_classes(tmp_path: Path) -> None:
    for number in range(400):
        save(tmp_path / "source" / str(number // 200) / f"{number}.png")
    pack(str(tmp_path / "source"), tmp_path / "out", Options(shard_size=100_000))
    location = locate(str(tmp_path / "out"))
    store = ShardStore(location, manifest_at(location), tmp_path / "cache")
    shares = [store.open(number).labels.mean() for number in range(len(store.manifest.shards) - 1)]
    assert len(shares) >= 3
    assert all(0.25 < share < 0.75 for share in shares)


def test_corrupt_images_are_listed_and_skipped_up_to_the_limit(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "bad.png").write_bytes(b"nothing")
    (folder / "dog" / "cut.png").write_bytes(save(tmp_path / "x.png").read_bytes()[:45])
    with pytest.raises(
        BadDataError,
        match=r"can't be used, more than --max-corrupt 0\.01 allows: .*(bad|cut)\.png (is no image|can't be decoded)",
    ):
        pack(str(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (packed,) = pack(str(folder), tmp_path / "out", Options(max_corrupt=0.2))
    assert [item.file for item in packed.corrupt] == ["cat/bad.png", "dog/cut.png"]
    assert packed.manifest.samples == 10


def test_hostile_zips_are_harmless(tmp_path: Path) -> None:
    good = save(tmp_path / "x.png").read_bytes()
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a/1.png", good)
        zipped.writestr("b/2.png", good)
        zipped.writestr("../../escape/3.png", good)
        zipped.writestr("/abs/4.png", good)
        zipped.writestr("b/bomb.png", b"\0" * (300 << 20))
    before = set(tmp_path.parent.iterdir())
    (packed,) = pack(str(archive), tmp_path / "out", Options(max_corrupt=0.5))
    assert packed.manifest.samples == 2
    assert [(item.file, item.reason) for item in packed.corrupt] == [("b/bomb.png", "is larger than 256 MiB (300 MiB)")]
    assert set(tmp_path.parent.iterdir()) == before
    with pytest.raises(BadDataError, match="is no zip archive"):
        pack(str(save(tmp_path / "y.png")), tmp_path / "out2")


def png_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(encoded: bytes, resolution: int, channels: int) -> NDArray[np.uint8]:
    return decode(prepare(encoded, resolution, channels), resolution, channels).transpose(1, 2, 0).squeeze()


def test_images_of_the_right_size_keep_their_pixels() -> None:
    array = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(pixels(png_bytes(Image.fromarray(array)), 32, 3), array)


def test_the_central_square_is_kept() -> None:
    array = np.zeros((10, 30), dtype=np.uint8)
    array[:, 10:20] = 200
    assert np.array_equal(pixels(png_bytes(Image.fromarray(array)), 10, 1), np.full((10, 10), 200))
    assert np.array_equal(pixels(png_bytes(Image.fromarray(array.T)), 10, 1), np.full((10, 10), 200))


def test_shrinking_averages_instead_of_dropping_pixels() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = pixels(png_bytes(Image.fromarray(checks.astype(np.uint8))), 8, 1)
    assert np.abs(small.astype(int) - 127.5).max() < 10  # aliasing would give 0 or 255


def test_odd_modes_become_8_bit_grey_or_rgb() -> None:
    deep = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    assert np.abs(pixels(png_bytes(Image.fromarray(deep)), 8, 1).astype(int) - deep / 257).max() <= 1
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert np.array_equal(pixels(png_bytes(clear), 8, 3), np.full((8, 8, 3), 255))
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert pixels(png_bytes(red), 8, 1)[0, 0] == 76  # ITU-R 601: 0.299 · 255
    assert pixels(png_bytes(red.convert("P")), 8, 3)[0, 0].tolist() == [255, 0, 0]
    assert pixels(png_bytes(Image.new("1", (8, 8), 1)), 8, 1).min() == 255


def test_photos_are_turned_as_their_exif_says() -> None:
    image = Image.new("L", (8, 8), 0)
    image.paste(255, (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise: white goes right
    turned = pixels(png_bytes(image, "JPEG", exif=exif, quality=95), 8, 1)
    assert turned[:, 6:].min() > 200
    assert turned[:, :2].max() < 50


def test_decompression_bombs_are_refused() -> None:
    bomb = png_bytes(Image.new("1", (10_000, 10_000)))
    with pytest.raises(BadImageError, match="DecompressionBomb"):
        prepare(bomb, 8, 1)


def test_packing_again_changes_nothing_and_another_dataset_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert pack(str(folder), out)[0].written
    before = contents(out)
    assert not pack(str(folder), out)[0].written
    assert contents(out) == before
    save(folder / "cat" / "new.png")
    with pytest.raises(BadDataError, match=r"holds another dataset.*--force"):
        pack(str(folder), out)
    with pytest.raises(BadDataError, match=r"holds another dataset.*resolution 8, not 16"):
        pack(str(folder), out, Options(resolution=16))
    assert contents(out) == before
    assert pack(str(folder), out, Options(force=True))[0].manifest.samples == 11
    assert check(str(out), decode=True).ok
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(BadDataError, match="is not empty and holds no dataset"):
        pack(str(folder), tmp_path / "full", Options(force=True))


@pytest.mark.long
def test_a_killed_packing_leaves_no_dataset(tmp_path: Path) -> None:
    for number in range(300):
        save(tmp_path / "source" / str(number % 2) / f"{number}.png", RNG.integers(0, 256, (256, 256), dtype=np.uint8))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "trainer.data", "pack", str(tmp_path / "source"), str(out), "--shard-size", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.packing-*/shard-000001.tar")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(".out.packing-*"))  # it was killed half way
    assert not (out / "dataset.json").exists()
    pack(str(tmp_path / "source"), out, Options(workers=1))
    assert check(str(out)).ok


def test_sizes_that_differ_need_a_resolution(folder: Path, tmp_path: Path) -> None:
    save(folder / "cat" / "large.png", np.zeros((9, 9), dtype=np.uint8))
    with pytest.raises(BadDataError, match=r"images differ in size \(8 to 9 px\); choose one with --resolution"):
        pack(str(folder), tmp_path / "out")
    assert pack(str(folder), tmp_path / "out", Options(resolution=16))[0].manifest.resolution == 16


def test_colour_is_kept_unless_grey_is_asked_for(folder: Path, tmp_path: Path) -> None:
    save(folder / "dog" / "colour.png", np.zeros((8, 8, 3), dtype=np.uint8))
    assert pack(str(folder), tmp_path / "a")[0].manifest.channels == 3
    assert pack(str(folder), tmp_path / "b", Options(channels=1))[0].manifest.channels == 1


def test_check_names_what_is_wrong(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, content in contents(digits).items():
        (out / name).write_bytes(content)
    assert check(str(out), decode=True).ok
    (out / "shard-000001.tar").unlink()
    os.truncate(out / "shard-000002.tar", 1000)
    problems = check(str(out)).problems
    assert len(problems) == 2
    assert "shard-000001.tar" in problems[0]
    assert "1,000 bytes" in problems[1]


def test_the_command_packs_and_checks_with_json_and_exit_codes(folder: Path, tmp_path: Path) -> None:
    run = CliRunner()
    packed = run.invoke(app, ["pack", str(folder), str(tmp_path / "out"), "--json"])
    assert packed.exit_code == 0
    assert json.loads(packed.stdout)[0]["manifest"]["samples"] == 10
    checked = run.invoke(app, ["check", str(tmp_path / "out"), "--json"])
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["ok"] is True
    assert run.invoke(app, ["pack", str(folder), str(tmp_path / "plain")]).exit_code == 0
    outside = run.invoke(app, ["check", str(tmp_path / "out"), "--root", str(folder), "--json"])
    assert outside.exit_code == 1
    assert "outside the allowed folders" in json.loads(outside.stdout)["error"]
    missing = run.invoke(app, ["pack", str(tmp_path / "nowhere"), str(tmp_path / "x")])
    assert missing.exit_code == 1
    assert "no such folder, zip or tar" in missing.stderr


def test_digits_are_scikit_learns(digits: Path) -> None:
    manifest = read_manifest(str(digits))
    assert (manifest.samples, manifest.classes) == (1797, tuple("0123456789"))
    assert manifest.class_counts == (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
    assert torch.tensor(manifest.class_counts).sum() == 1797
