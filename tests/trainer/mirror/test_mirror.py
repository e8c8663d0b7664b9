"""The second copy of a run's folder: whole or not there, and a run goes on with it as if it had its own."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import save
from tests.properties import examples
from trainer.mirror import files
from trainer.mirror.bringing import bring_back
from trainer.mirror.copying import copy, forget
from trainer.mirror.files import LARGE, LEDGER, Facts
from trainer.mirror.place import MirrorError, Place, check_url

RUN = "j-0123456789ab"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run that has trained a while."""
    found = tmp_path / "jobs" / RUN
    for step in (100, 200, 300):
        save(found, step)
    (found / "checkpoints" / "best.json").write_text('{"step": 200}')
    (found / "job.json").write_text('{"token": "secret"}')
    (found / "events.jsonl").write_text('{"seq": 1}\n')
    (found / "samples").mkdir()
    (found / "samples" / "000000100.png").write_bytes(b"png")
    return found


class Counting(Place):
    """A place that says what was asked of it, and fails when it is told."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.put_: list[str] = []
        self.fails_after: int | None = None

    def put(self, path: Path, key: str) -> None:
        """See Place."""
        if self.fails_after is not None and len(self.put_) >= self.fails_after:
            raise MirrorError(f"{key}: the store is away")
        self.put_.append(key)
        super().put(path, key)


@pytest.fixture
def place(tmp_path: Path) -> Counting:
    (tmp_path / "store").mkdir()
    return Counting(str(tmp_path / "store"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_is_copied_but_secrets_and_what_passes_and_a_second_pass_copies_what_is_new(
    folder: Path, place: Counting, tmp_path: Path
) -> None:
    (folder / "stop-1").write_text("now")
    (folder / "best").mkdir()
    (folder / "best" / "job.json").write_text('{"mlflow_uri": "http://agon:PASSWORD@mlflow"}')
    (folder / ".writing-step-000000400-7").mkdir()
    (folder / ".writing-step-000000400-7" / "state.safetensors").write_bytes(b"half")
    (folder / "checkpoints" / "step-000000400").mkdir()
    (folder / "checkpoints" / "step-000000400" / "state.safetensors").write_bytes(b"its manifest is not there")
    (folder / "link").symlink_to("/etc/passwd")
    done = copy(folder, place, RUN, rests=False)
    there = content(tmp_path / "store" / RUN)
    passing = ("stop-1", ".writing", "step-000000400", "link", LEDGER, "job.json")
    expected = {path: data for path, data in content(folder).items() if not any(name in path for name in passing)}
    assert there == expected and done.copied == len(expected) and done.whole and not done.wrong
    ledger = (folder / LEDGER).stat()
    assert copy(folder, place, RUN, rests=False)[:3] == (0, 0, 0)
    assert (folder / LEDGER).stat().st_ino == ledger.st_ino, "a pass that finds nothing writes nothing"
    (folder / "events.jsonl").write_text('{"seq": 1}\n{"seq": 2}\n')
    assert copy(folder, place, RUN, rests=False).copied == 1
    assert (tmp_path / "store" / RUN / "events.jsonl").read_text().endswith('{"seq": 2}\n')


def test_the_newest_checkpoint_comes_first_and_each_manifest_last(folder: Path, place: Counting) -> None:
    copy(folder, place, RUN, rests=False)
    steps = [key.split("/")[2] for key in place.put_ if "/step-" in key]
    assert steps == [name for step in (300, 200, 100) for name in 3 * [f"step-{step:09d}"]]
    names = [key.rpartition("/")[2] for key in place.put_ if "/step-" in key]
    assert names == ["meta.json", "state.safetensors", "manifest.json"] * 3


@examples(40)
@given(fails_after=st.integers(0, 14))
def test_wherever_a_pass_dies_what_is_there_is_whole_and_the_next_ends_as_an_undisturbed_one(
    tmp_path_factory: pytest.TempPathFactory, fails_after: int
) -> None:
    root = tmp_path_factory.mktemp("run")
    for step in (100, 200):
        save(root / RUN, step)
    (root / RUN / "a.png").write_bytes(b"a")
    for name in ("store", "quiet"):
        (root / name).mkdir()
    place, quiet = Counting(str(root / "store")), Counting(str(root / "quiet"))
    place.fails_after = fails_after
    with suppress(MirrorError):
        copy(root / RUN, place, RUN, rests=True)
    there = sorted(place.sizes(RUN))
    for proved in files.proved(there):
        assert all(f"{proved}/{name}" in there for name in ("state.safetensors", "meta.json"))
    before, place.fails_after = list(place.put_), None
    copy(root / RUN, place, RUN, rests=True)
    assert not set(before) & set(place.put_[len(before) :]), "what is there is not copied again"
    shutil.copytree(root / RUN, root / "other", ignore=lambda *_: {LEDGER})
    copy(root / "other", quiet, RUN, rests=True)
    assert place.sizes(RUN) == quiet.sizes(RUN)


def test_what_is_gone_leaves_the_copy_its_manifest_first(folder: Path, place: Counting, monkeypatch: Any) -> None:
    copy(folder, place, RUN, rests=False)
    shutil.rmtree(folder / "checkpoints" / "step-000000100")
    removed: list[str] = []
    real = Place.remove
    monkeypatch.setattr(Place, "remove", lambda self, keys: real(self, removed.extend(keys := list(keys)) or keys))
    assert copy(folder, place, RUN, rests=False).removed == 3
    assert removed[0].endswith("step-000000100/manifest.json")
    assert not any("step-000000100" in key for key in place.sizes(RUN))
    forget(place, RUN)
    assert place.sizes(RUN) == {}


def test_a_folder_that_is_lost_takes_nothing_from_the_copy(folder: Path, place: Counting) -> None:
    copy(folder, place, RUN, rests=False)
    before = place.sizes(RUN)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "job.json").write_text("{}")
    copy(folder, place, RUN, rests=True)
    assert place.sizes(RUN) == before


def test_what_the_store_made_of_it_is_read_back_and_copied_again_and_damage_here_is_told(
    folder: Path, place: Counting, monkeypatch: Any
) -> None:
    real, spoilt = Place.put, list[str]()

    def spoiling(self: Place, path: Path, key: str) -> None:
        real(self, path, key)
        if key.endswith("step-000000300/state.safetensors") and not spoilt:
            spoilt.append(key)
            Path(self.url, key).write_bytes(b"not that")

    monkeypatch.setattr(Place, "put", spoiling)
    (folder / "checkpoints" / "step-000000200" / "state.safetensors").write_bytes(b"damaged here")
    done = copy(folder, place, RUN, rests=False)
    assert spoilt and [wrong.split()[0] for wrong in done.wrong] == ["checkpoints/step-000000200/state.safetensors"]
    whole = [*files.proved(sorted(place.sizes(RUN)))]
    assert whole == ["checkpoints/step-000000100", "checkpoints/step-000000300"]
    good = (folder / "checkpoints" / "step-000000300" / "state.safetensors").read_bytes()
    assert Path(place.url, spoilt[0]).read_bytes() == good


def test_a_run_goes_on_with_its_copy_and_newest_checkpoint_and_what_it_has_stays(
    folder: Path, place: Counting, tmp_path: Path
) -> None:
    copy(folder, place, RUN, rests=True)
    new = tmp_path / "elsewhere" / RUN
    new.mkdir(parents=True)
    (new / "job.json").write_text('{"token": "new"}')
    (said,) = bring_back(new, place, RUN)
    assert "was brought back from" in said
    expected = {
        path: data
        for path, data in content(folder).items()
        if "step-000000100" not in path and "step-000000200" not in path
    }
    assert {**content(new), LEDGER: b""} == {**expected, "job.json": b'{"token": "new"}', LEDGER: b""}
    assert bring_back(new, place, RUN) == [], "once"
    assert copy(new, place, RUN, rests=True)[:3] == (0, 0, 0), "nothing goes back, and older checkpoints stay"


def test_of_a_damaged_copy_the_next_older_checkpoint_is_taken(folder: Path, place: Counting, tmp_path: Path) -> None:
    copy(folder, place, RUN, rests=True)
    Path(place.url, RUN, "checkpoints/step-000000300/state.safetensors").write_bytes(b"rotten")
    new = tmp_path / "elsewhere" / RUN
    new.mkdir(parents=True)
    said = bring_back(new, place, RUN)
    assert said[1:] == ["the copy of checkpoints/step-000000300 is damaged, an older one is taken"]
    assert [path.name for path in (new / "checkpoints").glob("step-*")] == ["step-000000200"]


def test_bringing_back_that_dies_begins_again(folder: Path, place: Counting, tmp_path: Path, monkeypatch: Any) -> None:
    copy(folder, place, RUN, rests=True)
    new = tmp_path / "elsewhere" / RUN
    new.mkdir(parents=True)
    count = len([*files.wanted(sorted(place.sizes(RUN)))])
    real = Place.get
    for dies in range(count):
        calls = iter(range(count))

        def dying(self: Place, key: str, path: Path, calls: Iterator[int] = calls, dies: int = dies) -> None:
            if next(calls) == dies:
                raise MirrorError("away")
            real(self, key, path)

        with monkeypatch.context() as patch:
            patch.setattr(Place, "get", dying)
            with pytest.raises(MirrorError):
                bring_back(new, place, RUN)
        assert list(new.iterdir()) == []
    assert bring_back(new, place, RUN)
    assert (new / "checkpoints" / "step-000000300" / "manifest.json").exists()


def test_trials_have_each_their_newest_checkpoint(place: Counting, tmp_path: Path) -> None:
    folder = tmp_path / "s-0123456789ab"
    for trial, steps in (("t-00000", (10, 20)), ("t-00001", (5,))):
        for step in steps:
            save(folder / "trials" / trial, step)
    (folder / "events.jsonl").write_text("")
    copy(folder, place, "s", rests=True)
    new = tmp_path / "new"
    new.mkdir()
    bring_back(new, place, "s")
    assert sorted(path.parent.relative_to(new).as_posix() for path in new.rglob("manifest.json")) == [
        "trials/t-00000/checkpoints/step-000000020",
        "trials/t-00001/checkpoints/step-000000005",
    ]


def test_a_long_log_that_grows_is_copied_again_when_it_has_grown_much_or_rests() -> None:
    old = {"events.jsonl": Facts(LARGE, 1)}
    little, much = {"events.jsonl": Facts(LARGE + 1, 2)}, {"events.jsonl": Facts(2 * LARGE, 2)}
    assert files.due(little, old, rests=False) == []
    assert files.due(little, old, rests=True) == files.due(much, old, rests=False) == ["events.jsonl"]
    assert files.due({"model/x.bin": Facts(LARGE + 1, 2)}, {"model/x.bin": Facts(LARGE, 1)}, rests=False)


@pytest.mark.parametrize(
    "url", ["s3://b", "s3:///x", "http://host/x", "x/y", "/a/../b", "s3://bucket/a b", "file:x", ""]
)
def test_what_is_no_place_is_refused(url: str) -> None:
    if url != "s3://b":
        with pytest.raises(ValueError, match="write s3://BUCKET"):
            check_url(url)
    assert check_url("s3://bucket/agon/") == "s3://bucket/agon"


def test_a_ledger_that_is_lost_or_torn_costs_another_copy_and_nothing_else(folder: Path, place: Counting) -> None:
    first = copy(folder, place, RUN, rests=False).copied
    (folder / LEDGER).write_text("{torn")
    assert copy(folder, place, RUN, rests=False).copied == first
    assert json.loads((folder / LEDGER).read_text())


@pytest.mark.long
def test_the_same_on_s3(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real S3 protocol, of a server in this process; with a file that is sent in parts."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="agon-copies")
        save(folder, 400, state=random.Random(0).randbytes(60 << 20))
        place = Place("s3://agon-copies/team")
        assert copy(folder, place, RUN, rests=True).whole
        listed = [item["Key"] for item in client.list_objects_v2(Bucket="agon-copies")["Contents"]]
        assert f"team/{RUN}/checkpoints/step-000000400/manifest.json" in listed
        new = tmp_path / "elsewhere" / RUN
        new.mkdir(parents=True)
        assert bring_back(new, place, RUN)
        name = "checkpoints/step-000000400/state.safetensors"
        assert (new / name).read_bytes() == (folder / name).read_bytes()
        forget(place, RUN)
        assert place.sizes(RUN) == {}
        with pytest.raises(MirrorError, match=r"NoSuchBucket|does not exist"):
            Place("s3://agon-none").put(folder / "events.jsonl", "x")
    finally:
        server.stop()


def test_a_folder_that_cannot_be_listed_takes_nothing_from_the_copy(
    folder: Path, place: Counting, monkeypatch: Any
) -> None:
    copy(folder, place, RUN, rests=False)
    before, real = place.sizes(RUN), os.scandir

    def failing(path: Any) -> Any:
        if str(path).endswith("checkpoints"):
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        with pytest.raises(OSError, match="Input/output"):
            copy(folder, place, RUN, rests=False)
    with monkeypatch.context() as patch:  # a stale cache of the folder: it isn't listed, and is there
        patch.setattr(files, "there", lambda _: {})
        assert copy(folder, place, RUN, rests=False).removed == 0
    assert place.sizes(RUN) == before


def test_another_place_and_one_that_was_emptied_get_all_of_it(folder: Path, place: Counting, tmp_path: Path) -> None:
    first = copy(folder, place, RUN, rests=True).copied
    (tmp_path / "other").mkdir()
    assert copy(folder, Place(str(tmp_path / "other")), RUN, rests=True).copied == first
    assert copy(folder, place, RUN, rests=True).copied == first, "the ledger is of one place"
    shutil.rmtree(tmp_path / "store" / RUN / "samples")
    assert copy(folder, place, RUN, rests=True).copied == 0
    assert copy(folder, place, RUN, rests=True, check=True).copied == 1


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "{",
        "[]",
        '{"files": 3}',
        '{"files": {"../../other": {"sha256": "x"}}}',
        '{"files": {"gone": {"sha256": "x"}}}',
    ],
)
def test_a_proof_that_proves_nothing_is_told_once_and_all_else_is_copied(
    folder: Path, place: Counting, proof: str
) -> None:
    (folder / "checkpoints" / "step-000000300" / "manifest.json").write_text(proof)
    done = copy(folder, place, RUN, rests=False)
    assert len(done.wrong) == 1 and done.whole
    assert [*files.proved(sorted(place.sizes(RUN)))] == ["checkpoints/step-000000100", "checkpoints/step-000000200"]
    assert "events.jsonl" in place.sizes(RUN)
    assert copy(folder, place, RUN, rests=False) == (0, 0, 0, True, ()), "until it is another one"


def test_a_place_that_is_not_mounted_is_away_and_not_empty(folder: Path, tmp_path: Path) -> None:
    place = Place(str(tmp_path / "nowhere"))
    with pytest.raises(MirrorError, match="there is no folder"):
        copy(folder, place, RUN, rests=False)
    with pytest.raises(MirrorError, match="can't be listed"):
        place.sizes(RUN)
    assert not (tmp_path / "nowhere").exists()


def test_keys_that_lead_out_of_the_folder_are_nobodys(place: Counting, tmp_path: Path, monkeypatch: Any) -> None:
    for path, safe in {
        "a/b.png": True,
        "../x": False,
        "a/../../x": False,
        "/x": False,
        "a//b": False,
        "": False,
        ".": False,
    }.items():
        assert files.is_safe(path) is safe
