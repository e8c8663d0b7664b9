"""The promises of trainer.data.stream on real shards, local and over HTTP."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from forked import context
from sklearn.datasets import load_digits

from trainer.access import Access
from trainer.data.manifest import read_manifest
from trainer.data.order import Order
from trainer.data.pack import pack
from trainer.data.reader import Reader
from trainer.data.stream import Dataset, RealBatch, open_dataset
from trainer.errors import BadDataError, BadSpecError
from trainer.spec import JobSpec

MakeSpec = Callable[..., JobSpec]


class Faulty(Protocol):
    """What these tests need of the server in conftest."""

    url: str
    requests: Counter[str]
    faults: defaultdict[str, list[int | str]]


def take(
    dataset: Dataset, count: int, *, rank: int = 0, world: int = 1, start: int = 0, seed: int = 3
) -> list[RealBatch]:
    batches = dataset.stream(16, seed, rank, world, start)
    found = list(islice(batches, count))
    batches.close()  # type: ignore[attr-defined]
    return found


def same(one: list[RealBatch], other: list[RealBatch]) -> bool:
    return len(one) == len(other) and all(
        a.index == b.index and torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        for a, b in zip(one, other, strict=True)
    )


def joined(ranks: list[list[RealBatch]]) -> list[RealBatch]:
    """Global batches from the ranks' shares."""
    return [
        RealBatch(torch.cat([b.images for b in parts]), torch.cat([b.labels for b in parts]), parts[0].index)
        for parts in zip(*ranks, strict=True)
    ]


def test_images_and_labels_are_those_that_were_packed(digits: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    dataset = open_dataset(make_spec(digits), cache_dir=tmp_path)
    images, labels = dataset.images(range(dataset.manifest.samples))
    source = load_digits()
    expected = {
        (np.round(image * (255 / 16)).astype(np.uint8).tobytes(), int(label))
        for image, label in zip(source.images, source.target, strict=True)
    }
    found = {(image.numpy().tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert images.shape == (1797, 1, 8, 8)
    assert len(dataset.manifest.shards) > 3
    assert found == expected


@pytest.mark.parametrize("mirror", [False, True])
def test_global_batches_are_the_same_for_every_world_size(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, mirror: bool
) -> None:
    spec = make_spec(digits, mirror=mirror)
    whole = take(open_dataset(spec, cache_dir=tmp_path), 130)  # more than an epoch
    for world in (2, 4):
        ranks = [take(open_dataset(spec, cache_dir=tmp_path), 130, rank=rank, world=world) for rank in range(world)]
        assert same(joined(ranks), whole)


@pytest.mark.parametrize("held_out", [1, 250, 1000])
def test_held_out_images_are_the_last_and_never_streamed(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, held_out: int
) -> None:
    dataset = open_dataset(make_spec(digits, held_out=held_out), cache_dir=tmp_path)
    total = dataset.manifest.samples
    assert dataset.held_out == range(total - held_out, total)
    order = Order(dataset.manifest.digest, dataset._trained_on(), 3, 4, 16)
    epoch = np.concatenate([order.rows(t) for t in range(-(-(total - held_out) // 16))])[: total - held_out]
    assert sorted(epoch.tolist()) == list(range(total - held_out))  # all others, each once
    streamed = torch.cat([batch.images for batch in take(dataset, 3)])
    assert torch.equal(streamed, torch.cat([dataset.images(order.rows(t))[0] for t in range(3)]))


def test_holding_out_all_images_is_refused(digits: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(BadSpecError, match=r"data\.held_out.*none would be left"):
        open_dataset(make_spec(digits, held_out=10**6), cache_dir=tmp_path)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_decode_threads_do_not_change_the_order(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, threads: int
) -> None:
    expected = take(open_dataset(make_spec(digits, decode_threads=0), cache_dir=tmp_path), 40)
    assert same(take(open_dataset(make_spec(digits, decode_threads=threads), cache_dir=tmp_path), 40), expected)


def test_resume_continues_alike_and_reads_nothing_before(digits: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    manifest = read_manifest(str(digits))
    sizes = [shard.samples for shard in manifest.shards]
    ends = np.cumsum(sizes)
    start = 100
    spec = make_spec(digits, decode_threads=0)
    expected = take(open_dataset(spec, cache_dir=tmp_path / "a"), start + 1)[start:]
    needed = set(np.searchsorted(ends, Order(manifest.digest, sizes, 3, 4, 16).rows(start), side="right").tolist())
    assert len(needed) < len(sizes)
    partial = tmp_path / "partial"
    partial.mkdir()
    for name in ["dataset.json", *(manifest.shards[number].name for number in needed)]:
        shutil.copy(digits / name, partial)
    resumed = open_dataset(
        spec.model_copy(update={"data": spec.data.model_copy(update={"url": str(partial)})}), cache_dir=tmp_path / "b"
    )
    assert same(take(resumed, 1, start=start), expected)


def test_mirror_flips_about_half_of_the_rows_and_nothing_else(
    digits: Path, make_spec: MakeSpec, tmp_path: Path
) -> None:
    plain = take(open_dataset(make_spec(digits), cache_dir=tmp_path), 40)
    mirrored = take(open_dataset(make_spec(digits, mirror=True), cache_dir=tmp_path), 40)
    flips = 0
    for a, b in zip(plain, mirrored, strict=True):
        assert torch.equal(a.labels, b.labels)
        for x, y in zip(a.images, b.images, strict=True):
            assert torch.equal(x, y) or torch.equal(x.flip(-1), y)
            flips += not torch.equal(x, y)
    assert 0.4 < flips / 640 < 0.6


def test_images_kept_in_memory_are_the_decoded_ones(digits: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    store = open_dataset(make_spec(digits), cache_dir=tmp_path)._store
    keeping, reading = Reader(store, skip=False), Reader(store, skip=False, memory=0)
    assert keeping._kept is not None
    assert reading._kept is None
    samples = np.arange(0, 1797, 7)
    for _ in range(2):
        for one, other in zip(
            keeping.read(samples, lambda row: ()), reading.read(samples, lambda row: ()), strict=True
        ):
            assert np.array_equal(one, other)


def test_data_without_labels_streams_with_zeros(make_spec: MakeSpec, tmp_path: Path, digits: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    dataset = open_dataset(make_spec(digits), cache_dir=tmp_path)
    from PIL import Image

    for number, image in enumerate(dataset.images(range(40))[0]):
        Image.fromarray(image[0].numpy()).save(flat / f"{number}.png")
    pack(str(flat), tmp_path / "packed")
    unlabelled = open_dataset(make_spec(tmp_path / "packed", classes=0), cache_dir=tmp_path)
    assert unlabelled.manifest.classes == ()
    assert take(unlabelled, 1)[0].labels.tolist() == [0] * 16


def test_closing_the_stream_ends_its_threads(digits: Path, make_spec: MakeSpec, tmp_path: Path) -> None:
    before = threading.active_count()
    take(open_dataset(make_spec(digits, decode_threads=3), cache_dir=tmp_path), 2)
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize(("rank", "world", "start"), [(0, 3, 0), (2, 2, 0), (-1, 2, 0), (0, 1, -1)])
def test_impossible_shares_are_refused(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, rank: int, world: int, start: int
) -> None:
    with pytest.raises(ValueError, match="not possible"):
        open_dataset(make_spec(digits), cache_dir=tmp_path).stream(16, 0, rank, world, start)


def test_data_that_does_not_fit_the_spec_is_refused_with_the_field(
    digits: Path, make_spec: MakeSpec, tmp_path: Path
) -> None:
    with pytest.raises(BadSpecError, match=r"arch\.resolution.*use 8"):
        open_dataset(make_spec(digits, resolution=16), cache_dir=tmp_path)
    with pytest.raises(BadSpecError, match=r"arch\.classes.*use 10, or 0"):
        open_dataset(make_spec(digits, classes=3), cache_dir=tmp_path)
    with pytest.raises(BadDataError, match=r"data\.digest"):
        open_dataset(make_spec(digits, digest="0" * 64), cache_dir=tmp_path)
    with pytest.raises(BadDataError, match="outside the allowed folders"):
        open_dataset(make_spec(digits), cache_dir=tmp_path, access=Access(roots=(str(tmp_path),)))


def test_builtin_digits_are_packed_once_at_the_archs_resolution(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("builtin:digits", resolution=16)
    first = open_dataset(spec, cache_dir=tmp_path)
    tar = tmp_path / "builtin" / "digits-16" / first.manifest.shards[0].name
    stamp = tar.stat().st_mtime_ns
    assert first.manifest.resolution == 16
    assert open_dataset(spec, cache_dir=tmp_path).manifest == first.manifest
    assert tar.stat().st_mtime_ns == stamp


def _first_labels(spec: JobSpec, cache_dir: Path) -> list[int]:
    return take(open_dataset(spec, cache_dir=cache_dir), 120)[-1].labels.tolist()


def _worker(spec: JobSpec, cache_dir: Path, results: Queue[list[int]]) -> None:
    results.put(_first_labels(spec, cache_dir))


@pytest.mark.long
def test_processes_fetch_each_shard_once_into_a_shared_cache(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, serve: Callable[[Path], Faulty]
) -> None:
    server = serve(digits)
    spec = make_spec(server.url)
    results: Queue[list[int]] = context().Queue()
    workers = [context().Process(target=_worker, args=(spec, tmp_path, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert found[0] == found[1] == _first_labels(spec, tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert {server.requests[path.name] for path in digits.glob("*.tar")} == {1}


def test_remote_shards_are_fetched_ahead_of_need_and_not_all_at_once(
    digits: Path, make_spec: MakeSpec, tmp_path: Path, serve: Callable[[Path], Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.data.stream.HORIZON", 30)
    manifest = read_manifest(str(digits))
    sizes = [shard.samples for shard in manifest.shards]
    order = Order(manifest.digest, sizes, 3, 1, 16)
    first, ahead = (set(np.searchsorted(np.cumsum(sizes), order.rows(t), side="right").tolist()) for t in (0, 32))
    assert not first & ahead
    server = serve(digits)
    batches = open_dataset(make_spec(server.url, lanes=1), cache_dir=tmp_path).stream(16, 3, 0, 1, 0)
    next(batches)
    expected = {manifest.shards[number].name for number in first | ahead}
    deadline = time.monotonic() + 20
    while not expected <= set(server.requests) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert expected | {"dataset.json"} == set(server.requests)
    assert len(expected) < len(sizes)


def test_builtin_digits_may_be_opened_by_many_at_once(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("builtin:digits", resolution=16)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_dataset(spec, cache_dir=tmp_path), range(4)))
    assert len({dataset.manifest.digest for dataset in opened}) == 1
    assert sorted(path.name for path in (tmp_path / "builtin").iterdir()) == ["digits-16", "digits-16.lock"]


def test_a_job_whose_data_root_is_gone_is_told_how_it_goes_on(
    digits: Path, make_spec: MakeSpec, tmp_path: Path
) -> None:
    with pytest.raises(BadDataError, match=r"agon up --data-root DIR.*agon retry JOB") as told:
        open_dataset(make_spec(digits), cache_dir=tmp_path, access=Access(roots=(str(tmp_path),)))
    assert type(told.value) is BadDataError
