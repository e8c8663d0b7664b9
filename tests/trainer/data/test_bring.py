"""The promises of `agon submit --data` on the trainer's side: the size is chosen, and a source is packed once."""

from __future__ import annotations

import json
import os
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from trainer.data import archive
from trainer.data.__main__ import app
from trainer.data.bring import Brought, Wanted, bring, choose, slug
from trainer.data.manifest import read_manifest
from trainer.data.pack import Packed
from trainer.errors import BadDataError

SIZES = (8, 16, 28, 32, 64, 128)


def picture(side: int, shade: int, mode: str = "RGB") -> bytes:
    out = BytesIO()
    Image.effect_noise((side, side), 40 + shade).convert(mode).save(out, "PNG")
    return out.getvalue()


def photos(path: Path, side: int = 16, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name in names:
            for number in range(4):
                out.writestr(f"{name}/{number}.png", picture(side, number))
    return path


def brought(source: Path | str, root: Path, wanted: Wanted | None = None) -> tuple[Brought, list[Packed]]:
    packed: list[Packed] = []
    found = bring(str(source), root, wanted or Wanted(SIZES, 16), lambda done, total: None, packed.append)
    return found, packed


@pytest.mark.parametrize(
    ("sides", "wanted", "expected"),
    [
        ((64,), Wanted(SIZES, 16), 64),  # their own, whatever the spec has
        ((64,), Wanted(SIZES, 16, resolution=32), 32),  # a person's word goes before
        ((100,), Wanted(SIZES, 64), 64),
        ((100,), Wanted(SIZES, 128), 64),  # none is enlarged
        ((4,), Wanted(SIZES, 64), 8),
        ((640, 800, 4000), Wanted(SIZES, 64), 64),
        ((20, 640, 800), Wanted(SIZES, 64), 64),  # one thumbnail decides nothing
        ((20, 40, 4000), Wanted(SIZES, 64), 32),
    ],
)
def test_the_resolution_is_the_images_own_or_else_the_specs_or_one_that_enlarges_few(
    sides: tuple[int, ...], wanted: Wanted, expected: int
) -> None:
    assert choose(sides, wanted)[0] == expected


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/a/Photos (1).tar.gz", "photos-1"),
        ("x.zip", "x"),
        ("/a/b/", "b"),
        ("Bäume", "b-ume"),
        ("builtin:digits", "digits"),
    ],
)
def test_a_name_comes_from_the_source(source: str, name: str) -> None:
    assert slug(source) == name


def test_a_source_is_packed_once_until_it_changes(tmp_path: Path) -> None:
    source, root = photos(tmp_path / "photos.zip"), tmp_path / "data"
    first, packed = brought(source, root)
    assert len(packed) == 1
    assert (first.name, first.layout, first.manifest.classes) == ("photos-16px", "classes", ("cat", "dog"))
    again, packed = brought(source, root)
    assert packed == []
    assert "not packed again" in " ".join(again.notes)
    assert again.manifest == first.manifest
    photos(source, names=("cat", "dog", "emu"))
    archive._archive.cache_clear()  # each command is a process of its own
    changed, packed = brought(source, root)
    assert len(packed) == 1
    assert changed.manifest.classes == ("cat", "dog", "emu")
    assert changed.path != first.path
    assert read_manifest(first.path) == first.manifest  # jobs that train on it go on


def test_a_changed_file_in_a_folder_is_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(16, number))
    first, _ = brought(folder, tmp_path / "data")
    (folder / "0.png").write_bytes(picture(16, 30))
    os.utime(folder / "0.png", ns=(1, 1))
    assert brought(folder, tmp_path / "data")[0].manifest.digest != first.manifest.digest


def test_another_source_of_the_same_name_has_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, _ = brought(photos(tmp_path / "photos.zip"), tmp_path / "data")
    other, _ = brought(photos(tmp_path / "other" / "photos.zip", names=("a", "b")), tmp_path / "data")
    assert one.path != other.path
    assert other.manifest.classes == ("a", "b")


def test_a_packing_that_was_killed_before_its_source_was_noted_is_done_again(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos.zip")
    first, _ = brought(source, tmp_path / "data")
    (Path(first.path) / "from.json").unlink()
    second, _ = brought(source, tmp_path / "data")
    third, packed = brought(source, tmp_path / "data")
    assert (second.path, packed) == (third.path, [])


def test_of_several_splits_train_is_taken_and_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as out:
        for split in ("train", "test"):
            for number in range(3):
                out.writestr(f"{split}/cat/{number}.png", picture(16, number))
                out.writestr(f"{split}/dog/{number}.png", picture(16, number + 5))
    found, _ = brought(tmp_path / "photos.zip", tmp_path / "data")
    assert found.manifest.samples == 6
    assert "train is taken" in found.notes[0]
    assert json.loads((Path(found.path) / "from.json").read_text())["source"].endswith("photos.zip")


def test_splits_without_train_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as out:
        for split in ("test", "val"):
            for number in range(3):
                out.writestr(f"{split}/cat/{number}.png", picture(16, number))
    with pytest.raises(BadDataError, match=r"none called train.*agon data pack"):
        brought(tmp_path / "photos.zip", tmp_path / "data")


def test_packing_without_out_goes_where_jobs_of_the_local_stack_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGON_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(app, ["pack", str(photos(tmp_path / "Photos.zip")), "--json"])
    assert done.exit_code == 0, done.output
    assert read_manifest(str(tmp_path / "home" / "data" / "photos")).classes == ("cat", "dog")
