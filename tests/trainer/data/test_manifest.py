"""What dataset.json and the places it may lie in promise."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.access import Access
from trainer.data import fetch
from trainer.data.locate import locate
from trainer.data.manifest import LEAST_IMAGES, mismatches, read_manifest
from trainer.errors import BadDataError, DataAwayError
from trainer.evaluate.accumulate import Features
from trainer.evaluate.moments import Moments
from trainer.evaluate.scores import score
from trainer.spec import JobSpec


@pytest.mark.parametrize(
    "url",
    ["pipe:ls", "pipe://ls", "ftp://host/x", "zip://a.tar::file:///etc", "simplecache::s3://bucket/x", "memory://x", "data:,x",
     "local:///etc", "ssh://host/x", "file://host/etc", "", "a\0b", "builtin:nothing", "github://a:b@/x"],
)  # fmt: skip
def test_only_known_schemes_are_opened(url: str) -> None:
    with pytest.raises(BadDataError, match=r"data\.url"):
        read_manifest(url)


@pytest.mark.parametrize("url", ["http://user:secret@host/x", "https://host/x?token=secret"])
def test_secrets_in_urls_are_refused(url: str) -> None:
    with pytest.raises(BadDataError) as caught:
        locate(url)
    assert "credentials" in str(caught.value) or "query" in str(caught.value)


def test_urls_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WDS_X", "expanded")
    monkeypatch.setenv("GOPEN_REWRITE", f"{tmp_path}=/etc")
    for name in ("${WDS_X}", "$HOME", "~", "{0..9}", "%41"):
        assert locate(str(tmp_path / name)).path == tmp_path / name
    assert locate(f"file://{tmp_path}/a%20b/dataset.json").path == tmp_path / "a b"
    assert locate("https://host/a/dataset.json/").url == "https://host/a"


def test_paths_stay_inside_the_roots(digits: Path, tmp_path: Path) -> None:
    assert read_manifest(str(digits), Access(roots=(str(digits.parent),))).samples == 1797
    link = tmp_path / "link"
    link.symlink_to(digits)
    for path in (digits, link, tmp_path / ".." / ".." / ".." / "etc", f"file://{digits}"):
        with pytest.raises(BadDataError, match="outside the allowed folders"):
            read_manifest(str(path), Access(roots=(str(tmp_path),)))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "dataset.json").symlink_to(digits / "dataset.json")
    with pytest.raises(BadDataError, match="outside the allowed folders"):
        read_manifest(str(inside), Access(roots=(str(tmp_path),)))


def test_a_missing_client_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch._filesystem.cache_clear()
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadDataError, match=r"pip install 'agon\[s3\]'"):
        read_manifest("s3://bucket/data")
    with pytest.raises(BadDataError, match=r"pip install 'agon\[gcs\]'"):
        read_manifest("gs://bucket/data")


def test_a_missing_dataset_says_how_to_make_one(tmp_path: Path, serve: Callable[[Path], Any]) -> None:
    for url in (str(tmp_path), serve(tmp_path).url):
        with pytest.raises(BadDataError, match=r"dataset\.json: is missing.*agon data pack"):
            read_manifest(url)


def test_the_manifest_reads_alike_from_everywhere(digits: Path, serve: Callable[[Path], Any]) -> None:
    there = read_manifest(str(digits))
    server = serve(digits)
    server.faults["dataset.json"] = [503, "cut"]
    assert read_manifest(server.url) == there
    assert read_manifest(f"file://{digits}") == read_manifest(str(digits / "dataset.json")) == there


def test_a_server_that_is_away_is_named(serve: Callable[[Path], Any], digits: Path) -> None:
    server = serve(digits)
    server.faults["dataset.json"] = [500] * 4
    with pytest.raises(
        DataAwayError, match=r"http://.*/dataset\.json: the server is away .*HTTP 500.*after 4 attempts"
    ):
        read_manifest(server.url)


def change(path: tuple[str | int, ...], value: Any) -> Callable[[Any], None]:
    def apply(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[part]
        raw[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(("resolution",), 16), "digest"),
        (change(("shards", 0, "sha256"), "0" * 64), "digest"),
        (change(("classes", 0), "zero"), "digest"),
        (change(("samples",), 1796), "sum over the shards"),
        (change(("class_counts", 0), 0), "class_counts"),
        (change(("class_counts",), [1797]), "class_counts"),
        (change(("shards", 0, "name"), "../x.tar"), r"shards\.0\.name|name"),
        (change(("shards", 0, "name"), "/etc/x.tar"), "name"),
        (change(("shards", 0, "name"), "shard-000001.tar"), "same name"),
        (change(("channels",), 4), "channels"),
        (change(("format",), 2), "format"),
        (change(("surprise",), 1), "a field that this version doesn't know"),
        (change(("shards",), []), "shards"),
    ],
)
def test_a_manifest_that_was_altered_is_refused(
    digits: Path, tmp_path: Path, edit: Callable[[Any], None], message: str
) -> None:
    raw = json.loads((digits / "dataset.json").read_text())
    edit(raw)
    (tmp_path / "dataset.json").write_text(json.dumps(raw))
    with pytest.raises(BadDataError, match=message):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(BadDataError, match=r"dataset\.json"):
        read_manifest(str(tmp_path))


def test_renaming_the_dataset_keeps_its_digest(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "copy")
    raw = json.loads((digits / "dataset.json").read_text())
    (tmp_path / "copy" / "dataset.json").write_text(json.dumps(raw | {"name": "other"}))
    assert read_manifest(str(tmp_path / "copy")).digest == read_manifest(str(digits)).digest


def test_every_field_that_does_not_fit_is_listed_with_its_fix(digits: Path, make_spec: Callable[..., JobSpec]) -> None:
    manifest = read_manifest(str(digits))
    assert mismatches(manifest, make_spec(digits)) == []
    assert mismatches(manifest, make_spec(digits, classes=0)) == []
    assert mismatches(manifest, make_spec(digits, digest=manifest.digest)) == []
    wrong = mismatches(manifest, make_spec(digits, resolution=32, channels=3, classes=7, digest="0" * 64))
    assert [error.path for error in wrong] == ["arch.resolution", "arch.channels", "arch.classes", "data.digest"]
    assert all(error.fix and error.value and error.message for error in wrong)


@pytest.mark.parametrize("metric", LEAST_IMAGES)
def test_a_metric_is_refused_on_exactly_as_few_images_as_it_fails_on(
    digits: Path, make_spec: Callable[..., JobSpec], metric: str
) -> None:
    spec = make_spec(digits)
    spec = spec.replace(evaluation=spec.evaluation.replace(metrics=(metric,)))
    manifest = read_manifest(str(digits))
    fake = np.random.default_rng(0).standard_normal((16, 2)).astype(np.float32)
    for count in range(1, 6):
        wrong = mismatches(manifest.model_copy(update={"samples": count}), spec)
        real = Features(Moments.of(fake[:count] + 1.0), fake[:count] + 1.0)
        if not wrong:
            score(real, Features(Moments.of(fake), fake), [metric])
            continue
        with pytest.raises(ValueError, match=r"at least 2|more than 3"):
            score(real, Features(Moments.of(fake), fake), [metric])
        (error,) = wrong
        assert (error.path, error.value) == ("evaluation.metrics", f'["{metric}"]')
        assert error.message.endswith(f"too few images: {count}")
        assert error.fix.startswith(f"leave out {metric}, or use data of ")


def test_manifests_and_packing_need_no_torch() -> None:
    code = "import sys, trainer.data.manifest, trainer.data.order, trainer.data.pack, trainer.data.check; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
