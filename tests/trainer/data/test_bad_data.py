"""What happens when shards are missing, truncated, altered or hostile."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import struct
import tarfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.access import Access
from trainer.data.codec import encode
from trainer.data.index import BadShardError, build_index
from trainer.data.locate import locate
from trainer.data.manifest import DatasetManifest, Shard, dataset_digest, read_manifest
from trainer.data.shards import make_room
from trainer.data.stream import Dataset, open_dataset
from trainer.errors import BadDataError
from trainer.spec import JobSpec

MakeSpec = Callable[..., JobSpec]
Harm = Callable[[Path], None]


class Faulty(Protocol):
    """What these tests need of the server in conftest."""

    url: str
    requests: Counter[str]
    faults: defaultdict[str, list[int | str]]


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


AT_ONCE = "is missing"
HARMS = pytest.mark.parametrize("harm", [remove, truncate, alter])


@pytest.fixture
def copy(digits: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits, tmp_path / "copy"))


def epoch(dataset: Dataset, rank: int = 0, world: int = 1, batches: int = 115) -> torch.Tensor:
    """All images of the rank's first batches, in order."""
    return torch.cat([batch.images for batch in islice(dataset.stream(16, 3, rank, world, 0), batches)])


def replacements(dataset: Dataset, rank: int = 0, world: int = 1) -> list[int]:
    """Rows of each of the rank's first batches that hold another sample."""
    return [batch.replaced for batch in islice(dataset.stream(16, 3, rank, world, 0), 115)]


@HARMS
def test_a_bad_shard_fails_the_job_with_its_name(copy: Path, make_spec: MakeSpec, tmp_path: Path, harm: Harm) -> None:
    harm(copy / "shard-000002.tar")
    with pytest.raises(BadDataError, match=rf"shard-000002\.tar.*{AT_ONCE if harm is remove else 'after 4 attempts'}"):
        epoch(open_dataset(make_spec(copy), cache_dir=tmp_path / "cache"))


@HARMS
def test_a_shard_harmed_after_it_was_proven_is_noticed(
    copy: Path, make_spec: MakeSpec, tmp_path: Path, harm: Harm
) -> None:
    epoch(open_dataset(make_spec(copy), cache_dir=tmp_path / "cache"))
    harm(copy / "shard-000002.tar")
    with pytest.raises(BadDataError, match=r"shard-000002\.tar"):
        epoch(open_dataset(make_spec(copy), cache_dir=tmp_path / "cache"))


@HARMS
def test_skipped_shards_are_counted_and_replaced_alike_for_every_world_size(
    copy: Path, make_spec: MakeSpec, tmp_path: Path, harm: Harm
) -> None:
    bad = read_manifest(str(copy)).shards[2]
    harm(copy / bad.name)
    spec = make_spec(copy, on_bad_shard="skip")
    whole = open_dataset(spec, cache_dir=tmp_path / "cache")
    images, replaced = epoch(whole), replacements(whole)
    assert list(whole.skipped) == [bad.name]
    assert bad.name in whole.skipped[bad.name]
    assert bad.samples <= sum(replaced) <= 2 * bad.samples  # 115 batches: an epoch and a bit
    halves = [epoch(open_dataset(spec, cache_dir=tmp_path / "cache"), rank, 2).unflatten(0, (-1, 8)) for rank in (0, 1)]
    assert torch.equal(torch.cat(halves, dim=1).flatten(0, 1), images)
    assert replaced == [sum(pair) for pair in zip(*(replacements(whole, rank, 2) for rank in (0, 1)), strict=True)]


def test_skipping_ends_when_nothing_is_left(copy: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    for shard in copy.glob("*.tar"):
        shard.unlink()
    with pytest.raises(BadDataError, match="too much of the data is unreadable"):
        epoch(open_dataset(make_spec(copy, on_bad_shard="skip"), cache_dir=tmp_path / "cache"))


def test_random_access_fails_and_skips_too(copy: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    (copy / "shard-000000.tar").unlink()
    with pytest.raises(BadDataError, match=r"shard-000000\.tar"):
        open_dataset(make_spec(copy), cache_dir=tmp_path).images([0])
    skipping = open_dataset(make_spec(copy, on_bad_shard="skip"), cache_dir=tmp_path)
    assert skipping.images([0, 1000])[0].shape == (2, 1, 8, 8)
    assert list(skipping.skipped) == ["shard-000000.tar"]


@pytest.mark.parametrize("faults", [[500], ["cut"], [503, "cut", 429]])
def test_passing_faults_of_a_server_are_survived(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, serve: Callable[[Path], Faulty], faults: list[int | str]
) -> None:
    server = serve(digits)
    server.faults["shard-000001.tar"] = list(faults)
    expected = epoch(open_dataset(make_spec(digits), cache_dir=tmp_path / "a"))
    assert torch.equal(epoch(open_dataset(make_spec(server.url), cache_dir=tmp_path / "b")), expected)
    assert server.requests["shard-000001.tar"] == len(faults) + 1


@HARMS
def test_a_bad_remote_shard_fails_the_job_with_its_name(
    copy: Path, make_spec: MakeSpec, tmp_path: Path, serve: Callable[[Path], Faulty], harm: Harm
) -> None:
    harm(copy / "shard-000001.tar")
    server = serve(copy)
    words, tries = (AT_ONCE, 1) if harm is remove else ("after 4 attempts", 4)
    with pytest.raises(BadDataError, match=rf"shard-000001\.tar of http.*{words}"):
        epoch(open_dataset(make_spec(server.url), cache_dir=tmp_path / "cache"))
    assert server.requests["shard-000001.tar"] == tries


def test_a_damaged_cached_shard_is_fetched_again(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, serve: Callable[[Path], Faulty]
) -> None:
    server = serve(digits)
    expected = epoch(open_dataset(make_spec(server.url), cache_dir=tmp_path))
    truncate(next((tmp_path / "shards").glob("*.tar")))
    assert torch.equal(epoch(open_dataset(make_spec(server.url), cache_dir=tmp_path)), expected)


def test_a_proven_shard_is_not_hashed_again(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, serve: Callable[[Path], Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (digits, serve(digits).url):
        expected = epoch(open_dataset(make_spec(url), cache_dir=tmp_path))
        with monkeypatch.context() as patched:
            patched.setattr("trainer.data.shards.verify", lambda path, shard: pytest.fail("hashed again"))
            assert torch.equal(epoch(open_dataset(make_spec(url), cache_dir=tmp_path)), expected)


def test_two_processes_that_make_room_at_once_do_not_trip_over_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone.tar").symlink_to(tmp_path / "evicted-by-another-process")  # listed, but no longer there
    (tmp_path / "old.tar").write_bytes(b"x")
    monkeypatch.setattr("trainer.data.shards.shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    make_room(tmp_path, 200)
    assert not list(tmp_path.glob("*.tar"))


def test_a_nearly_full_disk_evicts_the_least_recently_used_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, name in enumerate("abc"):
        (tmp_path / f"{name}.tar").write_bytes(b"x" * 100)
        os.utime(tmp_path / f"{name}.tar", (age, age))
    usage = type("usage", (), {"free": property(lambda self: 2**30 + 100 * (3 - len(list(tmp_path.glob("*.tar")))))})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage())
    make_room(tmp_path, 200)
    assert [path.name for path in tmp_path.glob("*.tar")] == ["c.tar"]


# Hostile archives: the manifest's hash fits them, so only the contents protect us.


def png(side: int = 8) -> bytes:
    return encode(Image.fromarray(np.arange(side * side, dtype=np.uint8).reshape(side, side)))


def bomb() -> bytes:
    """A PNG that claims 60000×60000 pixels in a hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def tar_of(path: Path, members: list[tuple[str, bytes]], odd: list[tarfile.TarInfo] | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for info in odd or []:
            tar.addfile(info)
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def dataset_of(
    folder: Path, samples: int, members: list[tuple[str, bytes]], odd: list[tarfile.TarInfo] | None = None
) -> Path:
    folder.mkdir()
    path = tar_of(folder / "a.tar", members, odd)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    shards = (Shard(name="a.tar", samples=samples, size=path.stat().st_size, sha256=sha256),)
    classes, counts = ("x", "y"), (samples, 0)
    manifest = DatasetManifest(
        name="hostile", resolution=8, channels=1, classes=classes, class_counts=counts, samples=samples, shards=shards,
        digest=dataset_digest(8, 1, classes, counts, shards),
    )  # fmt: skip
    (folder / "dataset.json").write_text(manifest.model_dump_json())
    return folder


class Explosive:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def test_members_that_are_no_images_or_labels_are_never_interpreted(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = pickle.dumps(Explosive())
    link, device, fifo = (tarfile.TarInfo(name) for name in ("0.png", "dev", "fifo"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type, fifo.type = tarfile.CHRTYPE, tarfile.FIFOTYPE
    members = [
        ("../../escape.png", png()), ("../../escape.cls", b"1"), ("../../escape.pyd", evil), ("../../escape.pth", evil),
        ("/abs/olute.png", png()), ("/abs/olute.cls", b" 0\n"), ("/abs/olute.pkl", evil), ("/abs/olute.json", b"{"),
    ]  # fmt: skip
    url = dataset_of(tmp_path / "data", 2, members, [link, device, fifo])
    before = {path for path in tmp_path.parent.rglob("*") if "cache" not in path.parts}
    dataset = open_dataset(make_spec(url, classes=2), cache_dir=tmp_path / "cache")
    assert dataset.images([0, 1])[1].tolist() == [1, 0]
    assert {path for path in tmp_path.parent.rglob("*") if "cache" not in path.parts} == before


def test_jpeg_members_of_other_packers_are_read(tmp_path: Path, make_spec: MakeSpec) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(png())).save(out, "JPEG")
    url = dataset_of(
        tmp_path / "data", 2, [("0.jpg", out.getvalue()), ("0.cls", b"1"), ("1.cls", b"0"), ("1.JPEG", out.getvalue())]
    )
    images, labels = open_dataset(make_spec(url, classes=2), cache_dir=tmp_path / "cache").images([0, 1])
    assert labels.tolist() == [1, 0]
    assert all(np.array_equal(image[0], np.asarray(Image.open(out))) for image in images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bomb(), "60000×60000"),
        (png(9), "is a 9×9 L image, not 8×8 L"),
        (b"not an image", "can't be decoded"),
        (b"", "can't be decoded"),
        (png()[:40], "can't be decoded"),
        (b"#!/bin/sh\necho %PDF", "can't be decoded"),
    ],
    ids=["bomb", "size", "text", "empty", "cut", "script"],
)
def test_hostile_images_are_refused_before_they_cost_anything(
    tmp_path: Path, make_spec: MakeSpec, content: bytes, message: str
) -> None:
    url = dataset_of(tmp_path / "data", 2, [("0.png", content), ("0.cls", b"0"), ("1.png", png()), ("1.cls", b"0")])
    with pytest.raises(BadDataError, match=rf"a\.tar.*sample 0 .*{message}"):
        open_dataset(make_spec(url, classes=2), cache_dir=tmp_path / "cache").images([0])
    skipping = open_dataset(make_spec(url, classes=2, on_bad_shard="skip"), cache_dir=tmp_path / "cache")
    assert torch.equal(*skipping.images([0, 1])[0])
    assert list(skipping.skipped) == ["a.tar#0"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("0.png", png()), ("0.cls", b"2")], "has label b'2'; labels are 0 to 1"),
        ([("0.png", png()), ("0.cls", b"-1")], "has label"),
        ([("0.png", png()), ("0.cls", b"9" * 400)], "has label"),
        ([("0.png", png())], "has no label"),
        ([("0.cls", b"1")], "has no image"),
        (
            [("0.png", png()), ("0.cls", b"1"), ("1.png", png()), ("1.cls", b"1")],
            "holds 2 samples; the manifest says 1",
        ),
    ],
)
def test_samples_that_are_not_as_promised_are_refused(
    tmp_path: Path, make_spec: MakeSpec, members: list[tuple[str, bytes]], message: str
) -> None:
    url = dataset_of(tmp_path / "data", 1, members)
    with pytest.raises(BadDataError, match=message):
        open_dataset(make_spec(url, classes=2), cache_dir=tmp_path / "cache").images([0])


def test_damaged_tars_are_refused(tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "whole.tar", [("0.png", png()), ("0.cls", b"1")]).read_bytes()
    assert build_index(tmp_path / "whole.tar", 2).shape == (1, 3)
    cases = {
        "header": b"x" * 4096,
        "member": whole[:600],
        "end": whole[:2048],
        "size": whole[:124] + b"-7" + whole[126:],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadShardError, match=r"damaged|ends"):
            build_index(tmp_path / name, 2)


def test_index_agrees_with_tarfile(digits: Path) -> None:
    path = digits / "shard-000000.tar"
    index = build_index(path, 10)
    with tarfile.open(path) as tar:
        images = [(m.offset_data, m.size) for m in tar.getmembers() if m.name.endswith(".png")]
        labels = [int(tar.extractfile(m).read()) for m in tar.getmembers() if m.name.endswith(".cls")]  # type: ignore[union-attr]
    assert index[:, :2].tolist() == [list(image) for image in images]
    assert index[:, 2].tolist() == labels


def test_shards_that_are_links_out_of_the_roots_are_refused(copy: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    target = tmp_path / "outside.tar"
    (copy / "shard-000000.tar").rename(target)
    (copy / "shard-000000.tar").symlink_to(target)
    dataset = open_dataset(make_spec(copy), cache_dir=tmp_path / "cache", access=Access(roots=(str(copy),)))
    with pytest.raises(BadDataError, match="outside the allowed folders"):
        dataset.images([0])
    assert locate(str(copy), Access(roots=(str(tmp_path),))).local("shard-000000.tar") == target


def test_shards_from_afar_are_kept_on_the_nodes_own_disk_where_it_has_a_folder_for_them(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, serve: Callable[[Path], Faulty]
) -> None:
    """What others share stays free of them; of a folder that they read in place nothing moves."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    expected = epoch(open_dataset(make_spec(digits), cache_dir=shared, shard_cache=own))
    assert list((shared / "index").iterdir())
    assert not own.exists()
    before = sorted(shared.rglob("*"))
    assert torch.equal(epoch(open_dataset(make_spec(serve(digits).url), cache_dir=shared, shard_cache=own)), expected)
    assert len(list((own / "shards").glob("*.tar"))) == len(list(digits.glob("*.tar")))
    assert sorted(shared.rglob("*")) == before
