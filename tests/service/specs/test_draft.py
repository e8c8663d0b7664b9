"""What a request means, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.bodies.jobs import JobRequest
from service.db.session import Database
from service.errors import Invalid
from service.settings import Settings
from service.specs.catalog import recipe_spec
from service.specs.draft import asked, settle
from trainer.spec import JobSpec

OVERRIDES: dict[str, Any] = {
    "name": "123",
    "train.images": 5120,
    "train.batch": "64",
    "data.mirror": True,
    "resources.workers": 2,
    "evaluation.metrics": ["fid", "kid"],
    "optimizers.G.lr": "1e-4",
    "optimizers.D.kind": "sgd",
    "publish.model": "mine",
    "retry.attempts": 1,
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database(f"sqlite:///{tmp_path_factory.mktemp('draft') / 'empty.db'}")  # no request here names a dataset


def meaning(changes: dict[str, Any], database: Database, *, mlflow: str | None = "http://127.0.0.1:1") -> JobSpec:
    request = JobRequest(recipe="dcgan", set={"data.url": "builtin:digits", **changes})
    return settle(asked(request, None, database), Settings(home=Path("/nowhere"), mlflow_uri=mlflow))


def nested(values: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    """The same values, each written with any of its dots as a level of nesting."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        node, name = tree, ""
        *parents, leaf = path.split(".")
        for part in parents:
            name = f"{name}.{part}" if name else part
            if draw(st.booleans()):
                node, name = node.setdefault(name, {}), ""
        node[f"{name}.{leaf}" if name else leaf] = value
    return tree


@given(st.data())
@examples(60)
def test_nested_and_dotted_overrides_mean_the_same(database: Database, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(OVERRIDES)), unique=True))
    dotted = {path: OVERRIDES[path] for path in chosen}
    mixed = data.draw(st.composite(lambda draw: nested(dotted, draw))())
    assert meaning(mixed, database) == meaning(dotted, database)


def test_a_section_that_is_set_in_part_keeps_its_other_fields(database: Database) -> None:
    recipe, found = recipe_spec("dcgan"), meaning({"train": {"images": 5120}}, database)
    assert recipe.train.batch != type(recipe.train)().batch, "else a default would look like the recipe's own"
    assert found.train == recipe.train.replace(images=5120)


def test_an_empty_mapping_changes_nothing_of_a_section(database: Database) -> None:
    assert meaning({"train": {}}, database) == meaning({}, database)


def test_publishing_needs_a_registry_and_is_refused_at_submit_without_one(database: Database) -> None:
    with pytest.raises(Invalid) as caught:
        meaning({"publish": {"model": "mine"}}, database, mlflow=None)
    (error,) = caught.value.errors
    assert error.path == "publish"
    assert "AGON_MLFLOW_URI" in (error.fix or "")
    assert meaning({"publish": {"model": "mine"}}, database).publish is not None
