"""`agon submit RECIPE --data SOURCE`, against the real API."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.stack import record as records
from service.stack.parts import Ports
from service.stack.record import PartRecord, StackRecord
from trainer.data.pack import pack

Agon = Callable[..., Any]


def photos(path: Path, names: tuple[str, ...] = ("cat", "dog", "emu"), side: int = 16) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name in names:
            for number in range(4):
                content = BytesIO()
                Image.effect_noise((side, side), 40 + number).convert("RGB").save(content, "PNG")
                out.writestr(f"{name}/{number}.png" if name else f"{number}.png", content.getvalue())
    return path


@pytest.fixture
def stack(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The API as the stack that runs from AGON_HOME."""
    home = Path(world.settings.home)
    port = int(world.url.rpartition(":")[2])
    part = PartRecord(pid=1, create_time=2.0, url=world.url, log="x")
    record = StackRecord(
        stack_id="i", started_at=datetime.now(UTC), host="127.0.0.1", ports=asdict(Ports(api=port)), cpus=None,
        parts={"api": part},
    )  # fmt: skip
    records.write(home / "stack.json", record)
    monkeypatch.setenv("AGON_HOME", str(home))
    return world


def arch(agon: Agon, job: str) -> tuple[int, int, int, str]:
    spec = json.loads(agon("show", job.strip(), "--json").out)["spec"]
    return spec["arch"]["classes"], spec["arch"]["channels"], spec["arch"]["resolution"], spec["data"]["url"]


def test_images_become_a_job_that_fits_them_and_all_that_was_decided_is_said(
    agon: Agon, stack: Any, tmp_path: Path
) -> None:
    source = photos(tmp_path / "Photos.zip", side=32)
    done = agon("submit", "dcgan-64", "--data", str(source))
    assert done.code == 0, done.err
    home = Path(stack.settings.home)
    assert arch(agon, done.out) == (3, 3, 32, str(home / "data" / "photos-32px"))
    said = " ".join(done.err.split())
    for text in (
        "arch.classes=3",
        "cat, dog, emu",
        "arch.channels=3",
        "arch.resolution=32 (it was 64)",
        "class folders",
    ):
        assert text in said, text
    assert [row.name for row in stack_datasets(stack)] == ["photos-32px"]
    again = agon("submit", "dcgan-64", "--data", str(source), "--set", "arch.classes=0")
    assert again.code == 0, again.err
    assert "not packed again" in again.err
    assert arch(agon, again.out)[0] == 0  # what a person sets goes before
    assert "filled in arch.classes" not in again.err


def stack_datasets(world: Any) -> list[Any]:
    from service.client import Client

    with Client(world.url, world.token) as client:
        return list(client.datasets().items)


@pytest.mark.long
def test_packed_folders_and_registered_names_are_taken_too(agon: Agon, world: Any, tmp_path: Path) -> None:
    packed = Path(world.settings.data_roots[0]) / "animals"
    pack(str(photos(tmp_path / "photos.zip", names=("a", "b"))), packed)
    done = agon("submit", "cgan-digits", "--data", str(packed))
    assert done.code == 0, done.err
    assert arch(agon, done.out) == (2, 3, 16, str(packed))
    for name in ("animals", "dataset:animals"):
        named = agon("submit", "cgan-digits", "--data", name)
        assert named.code == 0, named.err
        assert arch(agon, named.out) == (2, 3, 16, str(packed))


def test_a_packed_folder_outside_is_refused_with_the_command_that_allows_it(
    agon: Agon, world: Any, tmp_path: Path
) -> None:
    pack(str(photos(tmp_path / "photos.zip")), tmp_path / "elsewhere")
    done = agon("submit", "dcgan-64", "--data", str(tmp_path / "elsewhere"))
    assert done.code == 2
    assert "agon up --data-root" in " ".join(done.err.split())


def test_images_for_an_api_elsewhere_are_refused_with_what_to_do_instead(
    agon: Agon, world: Any, tmp_path: Path
) -> None:
    done = agon("submit", "dcgan-64", "--data", str(photos(tmp_path / "photos.zip")))
    assert done.code == 2
    said = " ".join(done.err.split())
    assert "agon data pack" in said
    assert "--data URL" in said


@pytest.mark.long
def test_images_that_can_not_be_packed_end_the_command_before_any_job(agon: Agon, stack: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert agon("submit", "dcgan-64", "--data", str(tmp_path / "empty")).code == 1
    assert json.loads(agon("jobs", "--json").out) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("dcgan-64", "--data", "nowhere"), "no registered dataset"),
        (("dcgan-64", "--data", ".", "--set", "data.url=builtin:digits"), "give one"),
        (("--from-trial", "s/t-00001", "--data", "x"), "--data goes with"),
        (("dcgan-64", "--data", ".", "--set", "arch.resolution=48"), "arch.resolution"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_is_packed(
    agon: Agon, stack: Any, arguments: tuple[str, ...], says: str
) -> None:
    done = agon("submit", *arguments)
    assert done.code == 2
    assert says in " ".join(done.err.split())


@pytest.mark.long
def test_another_dataset_of_that_name_gets_its_own(agon: Agon, world: Any, tmp_path: Path) -> None:
    root = Path(world.settings.data_roots[0])
    pack(str(photos(tmp_path / "photos.zip")), root / "one" / "animals")
    shutil.copytree(root / "one", root / "two")
    for folder in ("one", "two"):
        done = agon("submit", "dcgan-64", "--data", str(root / folder / "animals"))
        assert done.code == 0, done.err
        assert arch(agon, done.out)[3] == str(root / folder / "animals")
    assert len(stack_datasets(world)) == 2


@pytest.mark.long
def test_images_become_a_registered_dataset_under_the_name_that_is_given(
    agon: Agon, stack: Any, tmp_path: Path
) -> None:
    source = photos(tmp_path / "Photos.zip", side=32)
    done = agon("datasets", "add", str(source), "--name", "pets", "--resolution", "16", "--channels", "1")
    assert done.code == 0, done.err
    assert "class folders" in done.err
    home = Path(stack.settings.home)
    (found,) = json.loads(agon("datasets", "--json").out)
    assert (found["name"], found["url"]) == ("pets", str(home / "data" / "photos-16px"))
    assert (found["manifest"]["resolution"], found["manifest"]["channels"]) == (16, 1)
    other = agon("datasets", "add", str(source), "--name", "pets")
    assert (other.code, "pets" in other.err) == (4, True)


@pytest.mark.long
def test_images_of_many_sizes_are_packed_at_a_size_that_a_family_has_and_the_option_for_another_is_named(
    agon: Agon, stack: Any, tmp_path: Path
) -> None:
    source = photos(tmp_path / "odd.zip", names=("",), side=100)
    done = agon("datasets", "add", str(source))
    assert done.code == 0, done.err
    assert "--resolution N" in done.err
    assert "--set" not in done.err
    assert [row.manifest.resolution for row in stack_datasets(stack)] == [64]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere",), "no file or folder here and no URL"),
        (("PACKED", "--resolution", "16"), "is packed already"),
        (("NAME", "URL"), "unexpected extra argument"),
    ],
)
def test_what_can_not_be_added_is_refused_with_the_reason(
    agon: Agon, stack: Any, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    packed = Path(stack.settings.data_roots[0]) / "animals"
    pack(str(photos(tmp_path / "photos.zip", names=("a", "b"))), packed)
    done = agon("datasets", "add", *(str(packed) if word == "PACKED" else word for word in arguments))
    assert (done.code, says in " ".join(done.err.split())) == (2, True), done.err
    assert stack_datasets(stack) == []
