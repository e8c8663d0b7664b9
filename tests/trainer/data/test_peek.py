"""A few images of each class from the heads of shards: the right ones, and only as much read as that takes."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from trainer.access import Access
from trainer.data import fetch, peek
from trainer.data.fetch import PATIENT
from trainer.data.index import BadShardError, build_index, index_head
from trainer.data.locate import locate
from trainer.data.manifest import read_manifest
from trainer.errors import BadDataError, DataAwayError


def _peek(url: str | Path, each: int = 3, rows: int = 200) -> list[list[np.ndarray]]:
    location = locate(str(url), Access())
    return peek.peek(location, read_manifest(str(url)), each, rows, PATIENT, lambda image: image)


def test_each_class_has_its_own_images(digits: Path) -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    originals = {label: source.images[source.target == label] for label in range(10)}
    found = _peek(digits)
    assert [len(images) for images in found] == [3] * 10
    for label, images in enumerate(found):
        for image in images:
            distances = np.abs(originals[label] * 255 / 16 - image[0].astype(float)).max(axis=(1, 2))
            assert distances.min() < 2, "it is one of that class, to within the rounding of 16 levels to 255"


def test_a_class_that_is_not_met_has_none_and_no_more_rows_are_given_than_asked(
    digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(_peek(digits, rows=4)) == 4
    monkeypatch.setattr(peek, "HEAD", 6_000)  # three members, of which the last is cut
    monkeypatch.setattr(peek, "SHARDS", 1)
    assert sum(len(images) for images in _peek(digits)) in (1, 2)


def test_only_heads_are_read_spread_over_the_shards_and_no_more_once_all_is_seen(
    digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int]] = []
    real = fetch.chunks

    def counted(location, name, limit, *args):
        read.append((name, limit))
        return real(location, name, limit, *args)

    monkeypatch.setattr(peek, "chunks", counted)
    monkeypatch.setattr(peek, "HEAD", 8_000)
    monkeypatch.setattr(peek, "SHARDS", 2)
    shards = [shard.name for shard in read_manifest(str(digits)).shards]
    assert len(shards) > 3
    _peek(digits, each=1000)
    assert read == [(shards[0], 8_000), (shards[len(shards) // 2], 8_000)]
    read.clear()
    monkeypatch.setattr(peek, "HEAD", 1 << 20)
    _peek(digits, each=1)
    assert len(read) == 1


def test_a_head_has_the_rows_of_the_whole_up_to_where_it_is_cut(digits: Path) -> None:
    path = sorted(digits.glob("*.tar"))[0]
    whole, content = build_index(path, 10).tolist(), path.read_bytes()
    for cut in (0, 1, 511, 512, 700, 1536, 5000, 50_000, len(content) - 1, len(content)):
        rows = [list(row) for row in index_head(content[:cut], 10)]
        assert rows == whole[: len(rows)], cut
        assert all(offset + size <= cut for offset, size, _ in rows)
    assert [list(row) for row in index_head(content, 10)] == whole
    with pytest.raises(BadShardError, match="damaged"):
        index_head(b"\1" * 1024, 10)


def test_damaged_data_and_a_server_that_is_away_are_told_apart(digits: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(digits, tmp_path / "bad")
    first = sorted(bad.glob("*.tar"))[0]
    content = first.read_bytes()
    first.write_bytes(b"\1" * len(content))
    with pytest.raises(BadDataError, match=f"{first.name}.*damaged"):
        _peek(bad)
    first.write_bytes(content.replace(b"\x89PNG", b"\x89PNX"))
    with pytest.raises(BadDataError, match=f"{first.name}.*decoded"):
        _peek(bad)
    location = locate("http://127.0.0.1:1/x", Access(hosts=("127.0.0.1",)))
    with pytest.raises(DataAwayError):
        peek.peek(location, read_manifest(str(digits)), 1, 1, PATIENT, len)


def test_images_are_made_small_one_by_one(digits: Path) -> None:
    """Else a shard of some kilobytes could hold more pixels than there is memory."""
    alive: list[weakref.ref[np.ndarray]] = []

    def make(image: np.ndarray) -> int:
        assert sum(one() is not None for one in alive) == 0, "none of those before is kept"
        alive.append(weakref.ref(image))
        return 1

    location = locate(str(digits), Access())
    found = peek.peek(location, read_manifest(str(digits)), 5, 10, PATIENT, make)
    assert sum(map(sum, found)) == 50
