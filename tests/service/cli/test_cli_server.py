"""`agon datasets`, `models`, `cluster` and `tokens`: what REST has of them, typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.cli.groups import spelled
from trainer.data.pack import pack
from trainer.nodes import NodeShape

Agon = Callable[..., Any]


def cells(text: str) -> list[list[str]]:
    """Words of each line of a table, without its head."""
    return [line.split() for line in text.splitlines()[1:]]


# -- the words


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", "list"), ("--json", "list --json"), ("-n 3", "list -n 3"), ("list", "list"), ("digits", "show digits"),
        ("digits --json", "show digits --json"), ("show list", "show list"), ("-h", "-h"), ("--help", "--help"),
        ("alias a b 3", "alias a b 3"),
    ],
)  # fmt: skip
def test_without_a_verb_they_are_listed_or_one_is_shown(typed: str, meant: str) -> None:
    assert spelled(("list", "show", "alias"), typed.split()) == meant.split()


def test_where_things_are_listed_of_something_its_name_lists_them(agon: Agon) -> None:
    assert spelled(("list", "pin"), ["ada", "-n", "3"], "list") == ["list", "ada", "-n", "3"]
    assert spelled(("list", "pin"), ["pin", "ada"], "list") == ["pin", "ada"]
    found = agon("checkpoints")
    assert (found.code, "Missing argument 'JOB|SEARCH/TRIAL'" in found.err) == (2, True)


def test_where_one_can_not_be_shown_a_name_is_no_verb(agon: Agon, world: Any) -> None:
    assert spelled(("list", "create"), ["ada"]) == ["ada"]
    found = agon("tokens", "ada")
    assert found.code == 2
    assert "No such command 'ada'" in found.err


# -- datasets


@pytest.fixture
def packed(world: Any, tmp_path: Path) -> Path:
    """Packed data where jobs may read."""
    folder, images = Path(world.settings.data_roots[0]) / "tiny", tmp_path / "images"
    for number in range(12):
        (images / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 16), 40 + number).save(images / "ab"[number % 2] / f"{number}.png")
    pack(str(images), folder)
    return folder


def test_a_dataset_is_added_shown_listed_checked_and_forgotten(
    agon: Agon, world: Any, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "agon datasets add SOURCE" in agon("datasets").err
    monkeypatch.chdir(packed)
    added = agon("datasets", "add", ".", "--name", "digits")  # the current folder, not the data root
    assert added.code == 0, added.err
    for words in (("digits",), ("show", "digits")):
        assert (
            agon("datasets", *words).out.splitlines()[:-1] == added.out.splitlines()[:-1]
        )  # the last says how long ago
    assert f"url      {packed}" in added.out
    assert "12 of 16×16 grey" in added.out
    assert "checked  never" in added.out
    (row,) = cells(agon("datasets").out)
    assert (row[0], row[1], row[2], row[-1]) == ("digits", "12", "16×16", str(packed))
    assert json.loads(agon("datasets", "--json").out)[0] == json.loads(agon("datasets", "digits", "--json").out)
    checked = agon("datasets", "check", "digits")
    assert (checked.code, "all as the manifest says" in checked.out) == (0, True)
    assert "ago: whole" in agon("datasets", "digits").out
    shard = next(packed.glob("*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1])
    damaged = agon("datasets", "check", "digits")
    assert (damaged.code, cells(damaged.out)[0][0]) == (1, shard.name)
    assert json.loads(agon("datasets", "check", "digits", "--json").out)["ok"] is False
    assert agon("datasets", "remove", "digits").code == 0
    assert cells(agon("datasets").out) == []
    assert shard.exists()
    gone = agon("datasets", "digits")
    assert (gone.code, "/v1/" in gone.err) == (4, False)


@pytest.mark.long
def test_data_that_jobs_may_not_read_are_not_added(agon: Agon, world: Any, tmp_path: Path) -> None:
    pack("builtin:digits", tmp_path / "digits")
    found = agon("datasets", "add", str(tmp_path / "digits"))
    assert found.code == 2
    assert "agon up --data-root" in " ".join(found.err.split())


# -- models


def test_models_are_listed_with_aliases_and_their_versions_with_scores(agon: Agon, world: Any) -> None:
    assert "publish.model" in agon("models").err
    for fid in ("12.345678", "9.5"):
        world.registry.add("digits", {"agon.score.fid": fid, "agon.score.kid": "nan", "agon.job_id": "j-1"})
    world.registry.add("faces")
    assert [row[:1] for row in cells(agon("models").out)] == [["digits"], ["faces"]]
    moved = agon("models", "alias", "digits", "champion", "1")
    assert (moved.code, moved.out) == (0, "models:/digits@champion\n")
    assert "version 1" in moved.err
    assert "champion → 1" in agon("models").out
    second, first = cells(agon("models", "digits").out)
    assert second[:6] == ["2", "fid", "9.5,", "kid", "nan", "j-1"]
    assert first[:7] == ["1", "champion", "fid", "12.35,", "kid", "nan", "j-1"]
    assert agon("models", "show", "digits", "--json").out == agon("models", "digits", "--json").out
    assert [item["version"] for item in json.loads(agon("models", "digits", "--json").out)] == ["2", "1"]
    assert json.loads(agon("models", "--json").out)[0]["aliases"] == {"champion": "1"}
    assert json.loads(agon("models", "alias", "faces", "best", "1", "--json").out)["aliases"] == {"best": "1"}


def test_an_alias_of_what_is_not_there_is_refused(agon: Agon, world: Any) -> None:
    world.registry.add("digits")
    for words, code in (("digits champion 2", 4), ("none champion 1", 4), ("digits latest 1", 2), ("digits best x", 2)):
        found = agon("models", "alias", *words.split())
        assert (found.code, found.out) == (code, ""), found.err
    assert agon("models", "none").code == 4


def test_a_long_list_is_read_page_by_page_and_says_if_there_is_more(agon: Agon, world: Any) -> None:
    for number in range(250):
        world.registry.add(f"m{number:03}")
    every = json.loads(agon("models", "-n", "250", "--json").out)
    assert [model["name"] for model in every] == [f"m{number:03}" for number in range(250)]
    few = agon("models", "-n", "120")
    assert len(cells(few.out)) == 120
    assert "more than these 120" in few.err
    assert "more than" not in agon("models", "-n", "250").err


def test_a_registry_that_is_away_is_said(agon: Agon, world: Any) -> None:
    world.registry.unreachable = True
    found = agon("models")
    assert (found.code, found.out) == (4, "")
    assert "can't be reached" in found.err


# -- cluster


def test_what_the_cluster_has_what_is_free_and_by_what_it_may_grow(
    agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ray.cluster = [
        replace(world.ray.cluster[0], cpus=8, cpus_free=2.5, memory=4e9, memory_free=1e9),
        replace(world.ray.cluster[0], cpus=8, cpus_free=8, gpus=4, gpus_free=1),
    ]
    found = agon("cluster")
    assert (found.code, found.out.splitlines()[0]) == (0, "2 nodes")
    assert cells(found.out)[1:4] == [["CPUs", "16", "10.5"], ["GPUs", "4", "1"], ["memory", "4.0", "GB", "1.0", "GB"]]
    assert cells(found.out)[4][0] == "disk"
    told = json.loads(agon("cluster", "--json").out)
    assert told["gpus"] == {"total": 4.0, "free": 1.0}
    shapes = (NodeShape(3, 8), NodeShape(4, 64, 8, name="gpu-8"))
    monkeypatch.setitem(vars(world.settings), "max_nodes", shapes)
    grows = ["2 nodes, and up to 2 more with 8 CPUs each, and up to 4 more with 64 CPUs and 8 GPUs each (gpu-8)"]
    assert agon("cluster").out.splitlines()[:1] == grows
    world.ray.unreachable = True
    away = agon("cluster")
    assert (away.code, away.out, "can't be reached" in away.err) == (1, "", True)
    away = agon("cluster", "--json")
    assert (away.code, json.loads(away.out)["reachable"]) == (1, False)


# -- tokens


def test_a_token_is_made_used_and_revoked(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = agon("tokens", "create", "ada")
    secret = made.out.strip()
    assert made.code == 0
    assert secret not in made.err
    assert world.url in made.err
    admin = json.loads(agon("tokens", "create", "ci", "--scope", "admin", "--json").out)
    rows = {row[1]: row for row in cells(agon("tokens").out)}
    assert (rows["ada"][3], rows["ci"][3]) == ("user", "admin")
    assert secret not in agon("tokens", "--json").out
    ids = {token["name"]: token["id"] for token in json.loads(agon("tokens", "list", "--json").out)}
    monkeypatch.setenv("AGON_TOKEN", secret)
    assert agon("jobs").code == 0
    assert [row[1] for row in cells(agon("tokens").out)] == ["ada"]  # one's own
    assert json.loads(agon("token", "me", "--json").out)["owner"] == "ada"
    assert agon("tokens", "create", "eve", "--scope", "admin").code == 4
    assert agon("tokens", "create", "x", "--expires", "soon").code == 2
    other = json.loads(agon("tokens", "create", "phone", "--expires", "30d", "--json").out)
    assert other["owner"] == "ada"
    again = agon("token", "rotate", other["id"], "--overlap", "0s")
    assert (again.code, again.out.strip() not in ("", other["token"])) == (0, True)
    assert agon("tokens", "revoke", other["id"]).code == 0
    assert agon("owners", "role", "ada", "admin").code == 4
    monkeypatch.setenv("AGON_TOKEN", admin["token"])
    assert agon("owners", "role", "ada", "viewer").out.split()[-1] == "viewer"
    monkeypatch.setenv("AGON_TOKEN", secret)
    refused = agon("submit", "dcgan-digits")
    assert (refused.code, "agon owners role ada ROLE" in " ".join(refused.err.split())) == (4, True)
    monkeypatch.setenv("AGON_TOKEN", admin["token"])
    assert agon("tokens", "revoke", ids["ada"]).code == 0
    assert agon("tokens", "revoke", ids["ada"]).code == 4
    monkeypatch.setenv("AGON_TOKEN", secret)
    assert agon("jobs").code == 4


@pytest.mark.long
def test_a_disk_that_is_nearly_full_is_warned_of(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.disk.gauge import Fill, Gauge

    job = agon("submit", "dcgan-digits").out.strip()
    assert "nearly full" not in agon("jobs").err
    monkeypatch.setattr(Gauge, "fill", lambda _: Fill(10**12, 4 * 10**10))
    object.__setattr__(world.settings, "disk_low", 0.1)
    for words in (("show", job), ("search", "list"), ("cluster",)):
        found = agon(*words)
        assert found.code == 0
        assert "nearly full: 40 GB of 1.0 TB are free; agon gc says what can go" in found.err
    assert ["disk", "1.0", "TB", "40.0", "GB"] in cells(found.out.partition("\n")[2])


def test_a_server_that_knows_no_disk_is_asked_alike(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.client import Client, NotFound

    def unknown(_: Client, **__: Any) -> None:
        raise NotFound(404, "Not found", "no route", [])

    monkeypatch.setattr(Client, "disk", unknown)
    assert agon("cluster").code == agon("jobs").code == 0
    assert json.loads(agon("cluster", "--json").out)["disk"] is None
