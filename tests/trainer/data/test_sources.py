"""What lies in a folder or an archive is found by its bytes; nothing is lost silently, and nothing leads out."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from trainer.data import archive as archives
from trainer.data.__main__ import app
from trainer.data.archive import Tar
from trainer.data.check import check
from trainer.data.codec import BadImageError
from trainer.data.contents import FORMATS, SUFFIXES, sort_out
from trainer.data.pack import Options, Packed, pack
from trainer.data.source import open_source
from trainer.data.writer import PACKING
from trainer.errors import BadDataError

RNG = np.random.default_rng(0)
KINDS = {"PNG": ".png", "JPEG": ".jfif", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif", "PPM": ".ppm",
         "AVIF": ".avif", "JPEG2000": ".jp2", "DIB": ".dib"}  # fmt: skip


def encoded(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(out, kind)
    return out.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def tarred(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo, packing: str = "") -> Path:
    with tarfile.open(path, f"w:{packing}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in more:
            archive.addfile(member)
    return path


def packed(source: Path, out: Path, **options: object) -> Packed:
    (item,) = pack(str(source), out, Options(workers=1, **options))  # type: ignore[arg-type]
    return item


@pytest.mark.parametrize("suffix", ["its own", "", ".dat", ".JPE"])
def test_images_are_known_by_their_bytes_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    assert set(KINDS) == set(FORMATS)
    for number, (kind, own) in enumerate(KINDS.items()):
        name = f"{'ab'[number % 2]}/{kind}{own if suffix == 'its own' else suffix}"
        write(tmp_path / "source", {name: encoded(kind)})
    found = packed(tmp_path / "source", tmp_path / "out", channels=3)
    assert (found.manifest.samples, found.manifest.classes, found.ignored) == (len(KINDS), ("a", "b"), ())


def test_all_that_is_ignored_is_listed_with_its_reason(tmp_path: Path) -> None:
    others = {"a/notes.md": b"text", "Python.txt": b"P4 is no bitmap here", "a/Pyramid": b"Pyramid", "b/.DS_Store": b"x",
              ".git/config": b"x", "b/film.mp4": b"\0\0\0\x18ftypmp42", "b/Thumbs.db": b"x"}  # fmt: skip
    write(tmp_path / "s", {"a/1.png": encoded(), "b/2.png": encoded(), **others})
    (tmp_path / "s" / "a" / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "s" / "b" / "pipe.png")
    found = packed(tmp_path / "s", tmp_path / "out")
    assert {item.file: item.reason for item in found.ignored} == {
        ".git/": "hidden", "Python.txt": "no image", "a/Pyramid": "no image", "a/broken": "a link that leads nowhere",
        "a/notes.md": "no image", "b/.DS_Store": "hidden", "b/Thumbs.db": "hidden", "b/film.mp4": "no image",
        "b/pipe.png": "no regular file",
    }  # fmt: skip
    kept = json.loads((tmp_path / "out" / PACKING).read_text())
    assert [item["file"] for item in kept["ignored"]] == [item.file for item in found.ignored]
    assert kept["layout"] == "classes"
    run = CliRunner().invoke(app, ["pack", str(tmp_path / "s"), str(tmp_path / "again")])
    assert "ignored: 9 files" in run.stderr
    assert "1 .mp4: no image" in run.stderr
    assert "read as" in run.stderr
    shown = CliRunner().invoke(app, ["pack", str(tmp_path / "s"), str(tmp_path / "json"), "--json"])
    assert len(json.loads(shown.stdout)[0]["ignored"]) == 9


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC image, which can't be read; convert it"),
        ("x", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC image"),
        ("x.nef", b"II*\0", "is a camera's raw file"),
        ("x.psd", b"8BPS\0\1", "is a Photoshop image"),
        ("x.jpg", b"<!DOCTYPE html><title>404", "holds a web page"),
        ("x.png", b"version https://git-lfs.github.com/spec/v1", "holds a pointer to Git LFS"),
        ("x.jpg", b"\0" * 100, "holds zeros"),
        ("x.png", b"", "is empty"),
        ("x.png", b"\x89PNG\r\n\x1a\nnothing", "starts like an image and is damaged"),
        ("x.png", b"nothing", "is no image in a format that is read"),
    ],
)
def test_images_that_cannot_be_read_count_as_lost_and_say_what_they_are(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    write(tmp_path / "s", {"a/1.png": encoded(), "b/2.png": encoded(), f"a/{name}": content})
    with pytest.raises(BadDataError, match=rf"1 of 3 images can't be used.*a/{name} {reason}") as caught:
        packed(tmp_path / "s", tmp_path / "out")
    assert "BytesIO" not in str(caught.value)
    found = packed(tmp_path / "s", tmp_path / "out", max_corrupt=0.5)
    assert [item.file for item in found.corrupt] == [f"a/{name}"]
    with pytest.raises(BadDataError, match=rf"none of 1 images .* can be read: {name} {reason}"):
        packed(write(tmp_path / "only", {name: content}), tmp_path / "out2")


def test_a_heic_that_is_a_jpeg_is_read(tmp_path: Path) -> None:
    assert packed(write(tmp_path / "s", {"photo.heic": encoded("JPEG")}), tmp_path / "out").manifest.samples == 1


def test_a_class_that_only_has_unreadable_images_is_an_error(tmp_path: Path) -> None:
    files = {f"a/{number}.png": encoded() for number in range(3)} | {"b/1.png": b"nothing"}
    with pytest.raises(BadDataError, match="1 of 2 classes has no images: b"):
        packed(write(tmp_path / "s", files), tmp_path / "out", max_corrupt=0.5)
    assert not (tmp_path / "out").exists()


def test_links_inside_are_followed_and_links_out_are_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "elsewhere", {"1.png": encoded(), "2.png": encoded()})
    source = write(tmp_path / "s", {"dog/1.png": encoded(), ".store/x": encoded()})
    (source / "dog" / "2.png").symlink_to("../.store/x")
    assert packed(source, tmp_path / "inside").manifest.samples == 2
    (source / "cat").symlink_to(outside)
    with pytest.raises(BadDataError, match=r"1 link leads out of SOURCE: cat → .*elsewhere; .*--follow-links"):
        packed(source, tmp_path / "out")
    followed = packed(source, tmp_path / "out", follow_links=True)
    assert (followed.manifest.classes, followed.manifest.class_counts) == (("cat", "dog"), (2, 2))
    (source / "cat").unlink()
    (source / "dog" / "3.png").symlink_to(outside / "1.png")
    with pytest.raises(BadDataError, match=r"1 link leads out of SOURCE: dog/3\.png"):
        packed(source, tmp_path / "file")


@pytest.mark.parametrize(("link", "target"), [("a/round", ".."), ("b", "a"), ("a/self", ".")])
def test_links_neither_go_in_circles_nor_multiply_images(tmp_path: Path, link: str, target: str) -> None:
    source = write(tmp_path / "s", {"a/1.png": encoded(), "c/1.png": encoded()})
    (source / link).symlink_to(target)
    for follow in (False, True):
        with pytest.raises(BadDataError, match=rf"1 link leads to folders that are read already: {link} →"):
            packed(source, tmp_path / "out", follow_links=follow)


def test_names_that_are_no_text_are_shown_and_read(tmp_path: Path) -> None:
    folder = tmp_path / "s" / os.fsdecode(b"m\xfcller")
    folder.mkdir(parents=True)
    (folder / "1\n.png").write_bytes(encoded())
    write(tmp_path / "s", {"b/1.png": encoded(), "b/note\x1b[31m": b"x"})
    found = packed(tmp_path / "s", tmp_path / "out")
    assert found.manifest.classes == ("b", "m\\xfcller")
    assert [item.file for item in found.ignored] == ["b/note\\x1b[31m"]
    assert check(str(tmp_path / "out"), decode=True).ok


def test_a_zip_from_windows_keeps_its_folders(tmp_path: Path) -> None:
    images = {name: encoded() for name in ("cats\\0.png", "cats\\deep\\1.png", "dogs\\0.png")}
    found = packed(zipped(tmp_path / "windows.zip", images | {"cats\\": b""}), tmp_path / "out")
    assert (found.manifest.classes, found.manifest.class_counts) == (("cats", "dogs"), (2, 1))
    empty = zipped(tmp_path / "empty.zip", images | {"eels\\": b""})
    with pytest.raises(BadDataError, match="has no images: eels"):
        packed(empty, tmp_path / "out2")


@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
def test_a_tar_gives_what_its_folder_gives(tmp_path: Path, packing: str) -> None:
    files = {f"{name}/{number}.png": encoded() for name in ("cat", "dog") for number in range(3)}
    path = tarred(
        tmp_path / "photos.tar", {f"./photos/{name}": content for name, content in files.items()}, packing=packing
    )
    before = set(Path(archives.tempfile.gettempdir()).glob("agon-*.tar"))
    one, other = packed(write(tmp_path / "s", files), tmp_path / "a"), packed(path, tmp_path / "b")
    assert one.manifest.digest == other.manifest.digest
    assert other.manifest.name == "photos"
    assert set(Path(archives.tempfile.gettempdir()).glob("agon-*.tar")) <= before


@pytest.mark.parametrize("make", [zipped, tarred])
def test_hostile_names_in_archives_are_left_out_and_listed(tmp_path: Path, make: Callable[..., Path]) -> None:
    files = {"a/1.png": encoded(), "b/2.png": encoded(), "../3.png": encoded(), "/abs/4.png": encoded(),
             "..\\5.png": encoded(), "b/\x1b[31m.png": encoded(), "__MACOSX/a/._1.png": b"x"}  # fmt: skip
    found = packed(make(tmp_path / "evil", files), tmp_path / "out")
    assert found.manifest.samples == 2
    assert {item.reason for item in found.ignored} == {
        "its name climbs out of the archive", "its name starts at the root", "its name holds control characters", "hidden",
    }  # fmt: skip
    assert len(found.ignored) == 5


def test_links_and_devices_in_a_tar_are_left_out_and_listed(tmp_path: Path) -> None:
    link, device = tarfile.TarInfo("a/link.png"), tarfile.TarInfo("a/null")
    link.type, link.linkname, device.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.CHRTYPE
    found = packed(
        tarred(tmp_path / "x.tar", {"a/1.png": encoded(), "b/1.png": encoded()}, link, device), tmp_path / "out"
    )
    assert [(item.file, item.reason) for item in found.ignored] == [
        ("a/link.png", "a link in the archive"), ("a/null", "no regular file"),
    ]  # fmt: skip


def test_a_damaged_or_cut_archive_is_refused_whole(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "x.tar", {f"{number % 2}/{number}.png": encoded() for number in range(40)}).read_bytes()
    damaged = bytearray(whole)
    damaged[20 * 1024 + 100 : 20 * 1024 + 160] = b"\xff" * 60
    cases = {
        "cut.tar": whole[: len(whole) // 2 + 100], "damaged.tar": bytes(damaged), "cut.tar.gz": gzip.compress(whole)[:-2000],
        "cut.tar.xz": lzma.compress(whole)[:-2000],
    }  # fmt: skip
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadDataError, match=r"is a damaged (tar )?archive|can't be used"):
            packed(tmp_path / name, tmp_path / "out")


def test_a_compressed_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tarred(tmp_path / "x.tar", {"a/1.png": b"\0" * (64 << 20)})
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(gzip.compress(plain.read_bytes()))
    monkeypatch.setattr(archives.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(BadDataError, match="grows to over 100 times its size"):
        packed(bomb, tmp_path / "out")
    assert not list(tmp_path.glob("agon-*"))


def lying(path: Path, name: str, method: int, held: int, said: int) -> Path:
    """A zip whose one member holds `held` zeros and says that it holds `said` bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, bytes(held))
    content = bytearray(path.read_bytes())
    for at in (22, content.rfind(b"PK\x01\x02") + 24):  # in the member's own header and in the directory
        content[at : at + 4] = said.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zips_member_is_inflated_no_further_than_it_says(tmp_path: Path, method: int) -> None:
    source = open_source(str(lying(tmp_path / "bomb.zip", "a.png", method, 64 << 20, 1000)))
    assert source.listing().names == ("a.png",)
    tracemalloc.start()
    try:
        with pytest.raises(BadImageError, match=r"can't be read|is compressed in an unusual way"):
            source.read("a.png")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_webdatasets_shards_are_read_from_their_folder(tmp_path: Path) -> None:
    for shard in range(2):
        files: dict[str, bytes] = {}
        for number in range(3):
            files |= {
                f"{shard}{number}.png": encoded(),
                f"{shard}{number}.cls": str(number).encode(),
                f"{shard}{number}.txt": b"x",
            }
        tarred(write(tmp_path / "wds", {"readme.md": b"x"}) / f"shard-{shard}.tar", files)
    found = packed(tmp_path / "wds", tmp_path / "out", classes=("zero", "one", "two"))
    assert (found.layout, found.manifest.classes, found.manifest.class_counts) == (
        "webdataset",
        ("zero", "one", "two"),
        (2, 2, 2),
    )
    assert [item.file for item in found.ignored] == ["readme.md"]
    one = packed(tmp_path / "wds" / "shard-0.tar", tmp_path / "one")
    assert (one.layout, one.manifest.classes) == ("webdataset", ("0", "1", "2"))


def test_a_packed_dataset_is_not_packed_again(tmp_path: Path) -> None:
    out = tmp_path / "my out"  # what is to be typed is quoted
    packed(write(tmp_path / "s", {"1.png": encoded()}), out)
    with pytest.raises(BadDataError, match=rf"is packed already.*data\.url='{out}'"):
        packed(out, tmp_path / "again")
    archive = zipped(tmp_path / "out.zip", {f"out/{path.name}": path.read_bytes() for path in out.iterdir()})
    with pytest.raises(BadDataError, match=r"is packed already.*unpack the archive"):
        packed(archive, tmp_path / "again")


def test_numbers_agree_with_their_nouns(tmp_path: Path) -> None:
    packed(write(tmp_path / "s", {"1.png": encoded()}), tmp_path / "out")
    told = CliRunner().invoke(app, ["check", str(tmp_path / "out")])
    assert "whole: 1 image in 1 shard, digest" in told.stderr


def test_known_suffixes_are_lower_case_and_sources_give_heads(tmp_path: Path) -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
    files = {"a/1.png": encoded(), "b/2.png": encoded()}
    for path in (write(tmp_path / "s", files), zipped(tmp_path / "x.zip", files), tarred(tmp_path / "x.tar", files)):
        source = open_source(str(path))
        contents = sort_out(source)
        assert [source.read(name) for name in contents.images] == list(files.values())
        assert source.head("a/1.png", 4) == b"\x89PNG"
        assert source.head("a/1.png", 1 << 20) == files["a/1.png"]
    assert isinstance(source, Tar)
