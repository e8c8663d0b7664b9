"""What may be searched, and what is refused with which path."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

SPACE = {"optimizers.G.lr": [1e-4, 1e-3]}
SEARCH: dict[str, Any] = {"base": "dcgan-digits", "space": SPACE}


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """What is refused does not depend on the database."""
    shutil.copy(sqlite_template, tmp_path / "agon.db")
    return f"sqlite:///{tmp_path / 'agon.db'}"


def validate(world: Any, **fields: Any) -> Any:
    search = {**SEARCH, **fields}
    body = {"search": {name: value for name, value in search.items() if value is not None}}
    reply = world.client.post("/v1/searches/validate", json=body)
    if reply.status_code != 200:
        assert world.client.post("/v1/searches", json=body).status_code == reply.status_code
        assert world.client.get("/v1/searches").json()["items"] == []
    return reply


def test_a_base_is_a_recipe_or_a_whole_spec_and_comes_back_resolved(world: Any) -> None:
    changed = {"recipe": "dcgan-digits", "set": {"train": {"images": 5000}, "optimizers.G.lr": "2e-4"}}
    resolved = validate(world, base=changed).json()
    assert (resolved["base"]["train"]["images"], resolved["base"]["optimizers"]["G"]["lr"]) == (5000, 2e-4)
    assert validate(world, base=resolved["base"]).json() == resolved
    assert validate(world, **resolved).json() == resolved
    assert validate(world).json()["space"]["optimizers.G.lr"]["kind"] == "choice"
    stored = world.client.post("/v1/searches", json={"search": {**SEARCH, "base": changed}}).json()
    assert stored["search"] == resolved


def test_the_bases_data_are_checked_and_pinned(world: Any, tmp_path: Any) -> None:
    import hashlib
    import json

    from trainer.data.manifest import Shard, dataset_digest

    folder = Path(world.settings.data_roots[0]) / "tiny"
    folder.mkdir()
    shard = Shard(name="shard-000000.tar", samples=5, size=1, sha256=hashlib.sha256(b"x").hexdigest())
    facts: dict[str, Any] = {"resolution": 16, "channels": 1, "classes": (), "class_counts": (), "shards": (shard,)}
    digest = dataset_digest(**facts)
    manifest = {"format": 1, "name": "tiny", **facts, "shards": [shard.model_dump()], "samples": 5, "digest": digest}
    (folder / "dataset.json").write_text(json.dumps(manifest))
    world.client.post("/v1/datasets", json={"name": "tiny", "url": str(folder)})
    values = {"arch.resolution": 16, "arch.classes": 0, "evaluation.metrics": ["fid"]}
    for url in ("tiny", "dataset:tiny"):
        reply = validate(world, base={"recipe": "dcgan-digits", "set": {**values, "data.url": url}})
        assert reply.status_code == 200, reply.text
        assert reply.json()["base"]["data"]["digest"] == digest
        assert reply.json()["base"]["data"]["url"] == str(folder)
    unfit = {**values, "data.url": "dataset:tiny", "arch.resolution": 32}
    (error,) = validate(world, base={"recipe": "dcgan-digits", "set": unfit}).json()["errors"]
    assert error["path"] == "search.base.arch.resolution"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"base": None}, "search.base"),
        ({"base": 5}, "search.base"),
        ({"base": "no-such"}, "search.base.recipe"),
        ({"base": {"recipe": 5}}, "search.base.recipe"),
        ({"base": {"recipe": "dcgan-digits", "set": [1]}}, "search.base.set"),
        ({"base": {"recipe": "dcgan-digits", "other": 1}}, "search.base.other"),
        ({"base": {"recipe": "dcgan-digits", "set": {"train.batch": 7}}}, "search.base.train.batch"),
        ({"base": {"recipe": "dcgan-digits", "set": {"publish": {"model": "x"}}}}, "search.base.publish"),
        ({"base": {"recipe": "dcgan-digits", "set": {"data.url": "/etc"}}}, "search.base.data.url"),
        ({"base": {"recipe": "dcgan-digits", "set": {"data.url": "dataset:nope"}}}, "search.base.data.url"),
        ({"base": {"recipe": "dcgan-digits", "set": {"evaluation.extractor": "/etc/passwd"}}}, "search.base.evaluation.extractor"),
        ({"space": {}}, "search.space"),
        ({"space": [1]}, "search.space"),
        ({"space": {"no.such": [1, 2]}}, "search.space.no.such"),
        ({"space": {"optimizers.G.lr": {"loguniform": [0, 1]}}}, "search.space.optimizers.G.lr.low"),
        ({"space": {"optimizers.G.lr": ["a"]}}, "search.space.optimizers.G.lr"),
        ({"space": {"data.url": ["/etc", "builtin:digits"]}}, "search.space.data.url"),
        ({"space": {"train.seed": {"choice": [1, 2], "also": ["data.digest"]}}}, "search.space.train.seed.also.0"),
        ({"metric": "beauty"}, "search.metric"),
        ({"trials": 10_001}, "search.trials"),
        ({"max_concurrent": 0}, "search.max_concurrent"),
        ({"budget": {"images": 0}}, "search.budget.images"),
        ({"other": 1}, "search.other"),
        # hostile
        ({"space": {"x" * 300: [1]}}, "search.space"),
        ({"space": {"a=b": [1]}}, "search.space"),
        ({"space": {"objective.loss": ["&a [*a]"]}}, "search.space.objective.loss"),
        ({"space": {"objective.loss": ["x" * 5000]}}, "search.space.objective.loss.0"),
        ({"space": {"train.batch": [64] * 1001}}, "search.space.train.batch.values"),
        ({"space": {"train.seed": {"randint": [0, 2**62]}}, "algorithm": "grid"}, "search.space.train.seed"),
        ({"space": {"train.images": {"randint": [1, 20_000]}}, "algorithm": "grid"}, "search.space"),
        ({"space": {"optimizers.G.lr": {"quniform": [0, 1e300, 1e-300]}}}, "search.space.optimizers.G.lr.q"),
        ({"space": {"optimizers.G.lr": {"uniform": [-1.7e308, 1.7e308]}}}, "search.space.optimizers.G.lr.high"),
        ({"space": {"optimizers.G.lr": {"uniform": [0, 1], "also": ["a"] * 21}}}, "search.space.optimizers.G.lr.also"),
        ({"space": {"objective.penalties.².weight": [1]}}, "search.space"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_run_is_refused_and_names_the_field(world: Any, fields: dict[str, Any], path: str) -> None:
    reply = validate(world, **fields)
    assert reply.status_code == 422, reply.text
    found = [error["path"] for error in reply.json()["errors"]]
    assert path in found, found


def test_conditions_that_could_be_followed_in_exponentially_many_ways_are_checked_at_once(world: Any) -> None:
    names = [f"evaluation.metrics.{index}" for index in range(40)]
    space = {
        name: {"choice": [1], "when": dict.fromkeys(names[max(0, index - 19) : index], 1)}
        for index, name in enumerate(names)
    }
    assert validate(world, space=space).status_code == 422


def test_a_body_without_a_search_is_refused(world: Any) -> None:
    for body, path in (({}, "search"), ({"search": 5}, "search"), ({"search": {}, "name": "x"}, "name")):
        reply = world.client.post("/v1/searches", json=body)
        assert reply.status_code == 422
        assert path in [error["path"] for error in reply.json()["errors"]]
