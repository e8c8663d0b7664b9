"""What is refused, and that each refusal names the field and the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from trainer.families.table import NAMES, recipes
from trainer.schema import Frozen
from trainer.spec import JobSpec, SpecError, explain, parse_spec
from trainer.spec.job import MIGRATIONS

Raw = dict[str, Any]


def good(recipe: str = "dcgan-digits") -> Raw:
    return recipes()[recipe]().model_dump(mode="json")


def errors_of(raw: object) -> dict[str, Any]:
    with pytest.raises(SpecError) as caught:
        parse_spec(raw)
    return {error.path: error for error in caught.value.errors}


def put(raw: Raw, path: str, value: object) -> Raw:
    node: Any = raw
    *parents, leaf = path.split(".")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[int(leaf) if isinstance(node, list) else leaf] = value
    return raw


def sections(value: object, path: str = "") -> Iterator[str]:
    """Paths of all mappings in a raw spec that are sections (not `optimizers`, whose keys are players)."""
    if isinstance(value, dict):
        if path not in ("optimizers", "labels"):  # whose keys are names
            yield path
        for key, inner in value.items():
            yield from sections(inner, f"{path}.{key}".strip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from sections(inner, f"{path}.{index}")


def leaves(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}".strip("."))
    elif not isinstance(value, list):
        yield path


def everything() -> Raw:
    """A raw spec with every section filled, one of each union's members in use."""
    raw = good("wgan-gp-digits")
    raw["publish"] = {"model": "demo", "gate": "better", "metric": "fid"}
    raw["optimizers"]["G"] = {"kind": "sgd", "lr": 0.1, "schedule": {"kind": "linear"}}
    raw["objective"]["d_warmup"] = {"d_steps": 100, "steps": 25, "every": 500}
    return raw


@pytest.mark.parametrize("path", sections(everything()))
def test_unknown_keys_are_refused_at_every_level(path: str) -> None:
    error = errors_of(put(everything(), f"{path}.nonsense".strip("."), 1))[f"{path}.nonsense".strip(".")]
    assert error.message == "unknown field"
    assert error.fix


@pytest.mark.parametrize("path", leaves(everything()))
def test_a_wrong_type_is_reported_at_its_own_path(path: str) -> None:
    found = errors_of(put(everything(), path, {"no": ["such"]}))
    assert path in found or f"{path}.no" in found  # a number or a section
    assert all(error.message for error in found.values())


def test_a_misspelt_field_is_recognised() -> None:
    assert errors_of(put(good(), "train.bacth", 8))["train.bacth"].fix == "did you mean 'batch'?"
    assert errors_of(put(good(), "optimizers.G.shedule", {}))["optimizers.G.shedule"].fix == "did you mean 'schedule'?"
    assert errors_of(put(good(), "arch.g_widht", 8))["arch.g_widht"].fix == "did you mean 'g_width'?"


def test_a_wrong_or_missing_member_of_a_union_lists_the_members() -> None:
    for raw in (put(good(), "arch", {"family": "vae-gan"}), put(good(), "arch", {})):
        assert errors_of(raw)["arch.family"].fix == f"one of {', '.join(NAMES)}"
    assert (
        errors_of(put(good(), "optimizers.G", {"kind": "lion"}))["optimizers.G.kind"].fix == "one of adam, rmsprop, sgd"
    )
    bad = put(good(), "objective.penalties", [{"kind": "l2"}])
    assert errors_of(bad)["objective.penalties.0.kind"].fix == "one of clip, gradient-penalty, r1, r2, orthogonal"


def test_all_wrong_fields_are_reported_at_once() -> None:
    raw = put(put(put(good(), "train.batch", 0), "arch.resolution", 30), "optimizers.D.lr", -1)
    assert set(errors_of(raw)) == {"train.batch", "arch.resolution", "optimizers.D.lr"}
    crossed = put(put(good(), "train.batch", 63), "arch.channels", 3)
    assert set(errors_of(crossed)) == {"train.batch", "arch.channels"}


def test_an_error_line_has_path_message_value_and_fix() -> None:
    line = errors_of(put(good(), "train.batch", 63))["train.batch"].line()
    assert line == "train.batch: is not divisible by data.lanes (8) (got 63); use a multiple of 8, or lower data.lanes"


CROSS: dict[str, tuple[Callable[[Raw], Raw], str, str]] = {
    "missing player": (lambda raw: {**raw, "optimizers": {"G": raw["optimizers"]["G"]}}, "optimizers.D", "trains G, D"),
    "foreign player": (lambda raw: put(raw, "optimizers.E", {"kind": "adam"}), "optimizers.E", "players: G, D"),
    "batch and lanes": (lambda raw: put(raw, "train.batch", 63), "train.batch", "multiple of 8"),
    "workers and lanes": (lambda raw: put(raw, "resources.workers", 3), "resources.workers", "divisor"),
    "minimum above workers": (lambda raw: put(raw, "resources.min_workers", 4), "resources.min_workers", "lower"),
    "minimum and lanes": (
        lambda raw: put(put(raw, "resources.workers", 8), "resources.min_workers", 3), "resources.min_workers", "divisor",
    ),
    "micro batch": (lambda raw: put(raw, "train.micro_batch", 5), "train.micro_batch", "divisor"),
    "micro batch of D": (lambda raw: put(raw, "train.micro_batch", {"G": 4, "D": 5}), "train.micro_batch.D", "divisor"),
    "micro batch of nobody": (lambda raw: put(raw, "train.micro_batch", {"E": 4}), "train.micro_batch.E", "G, D"),
    "no micro batch": (lambda raw: put(raw, "train.micro_batch", 0), "train.micro_batch", "Images a worker"),
    "micro batch at another size": (
        lambda raw: put(put(put(put(put(raw, "train.batch", 24), "data.lanes", 12), "resources.workers", 4),
                            "resources.min_workers", 3), "train.micro_batch", 6),
        "train.micro_batch", "divisor",
    ),
    "digits are grey": (lambda raw: put(raw, "arch.channels", 3), "arch.channels", "use 1"),
    "digits have ten classes": (lambda raw: put(raw, "arch.classes", 7), "arch.classes", "use 10, or 0"),
    "gate on what is not evaluated": (
        lambda raw: put(raw, "publish", {"model": "demo", "metric": "recall"}), "publish.metric", "evaluation.metrics",
    ),
    "penalty twice": (
        lambda raw: put(raw, "objective.penalties", [{"kind": "clip"}, {"kind": "clip"}]), "objective.penalties.1", "keep one",
    ),
    "clip and gradient penalty": (
        lambda raw: put(put(raw, "arch.d_norm", "none"), "objective.penalties", [{"kind": "gradient-penalty"}, {"kind": "clip"}]),
        "objective.penalties.1", "keep one",
    ),
    "gradient penalty and batch norm": (
        lambda raw: put(raw, "objective.penalties", [{"kind": "gradient-penalty"}]), "objective.penalties.0", "d_norm=layer",
    ),
    "r1 and batch norm": (
        lambda raw: put(raw, "objective.penalties", [{"kind": "r1"}]), "objective.penalties.0", "d_norm=layer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CROSS)
def test_impossible_combinations_name_path_and_fix(case: str) -> None:
    spoil, path, fix = CROSS[case]
    found = errors_of(spoil(good()))
    assert list(found) == [path]
    assert fix in found[path].fix
    assert found[path].message


def test_the_unspoilt_specs_are_accepted() -> None:
    parse_spec(good())
    parse_spec(everything())


def test_world_sizes_are_the_divisors_of_lanes_in_the_elastic_range() -> None:
    raw = put(put(put(good(), "data.lanes", 16), "resources.workers", 8), "resources.min_workers", 2)
    spec = parse_spec(put(raw, "train.batch", 64))
    assert spec.world_sizes() == (2, 4, 8)
    assert [spec.local_batch(size) for size in spec.world_sizes()] == [32, 16, 8]
    assert parse_spec(good()).world_sizes() == (2,)
    with pytest.raises(ValueError, match="3 workers"):
        spec.local_batch(3)


@pytest.mark.parametrize(
    "url",
    [
        "pipe:cat /etc/passwd",
        "exec:x",
        "ftp://host/x",
        "builtin:mnist",
        "",
        "  ",
        "a\0b",
        "a\nb",
        "file\n:x",
        "PIPE:ls",
    ],
)
@pytest.mark.parametrize("path", ["data.url", "evaluation.extractor"])
def test_locations_that_could_do_more_than_be_read_are_refused(url: str, path: str) -> None:
    assert path in errors_of(put(good(), path, url))


@pytest.mark.parametrize(
    "url", ["data/x", "/abs/x", "file:///x", "http://h/x", "https://h:80/x", "s3://b/x", "gs://b/x"]
)
def test_paths_and_urls_of_the_allowed_schemes_are_accepted(url: str) -> None:
    raw = put(put(good(), "data.url", url), "evaluation.extractor", url)
    assert parse_spec(raw).data.url == url


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused(number: float) -> None:
    assert "optimizers.G.lr" in errors_of(put(good(), "optimizers.G.lr", number))


def test_specs_are_frozen_and_replace_validates() -> None:
    spec = parse_spec(good())
    with pytest.raises(ValidationError):
        spec.name = "other"
    assert spec.replace(name="other").name == "other"
    with pytest.raises(ValidationError):
        spec.replace(train=spec.train.replace(batch=63))
    with pytest.raises(ValidationError):
        spec.arch.replace(resolution=30)


@pytest.mark.parametrize("raw", [None, 3, "text", [1], {"arch": 3}, {"arch": None, "optimizers": []}, {1: 2}])
def test_what_is_no_mapping_of_sections_is_refused_too(raw: object) -> None:
    assert errors_of(raw)


def test_explain_serves_other_models() -> None:
    class Body(Frozen):
        spec: JobSpec
        count: int

    raw = {"spec": put(good(), "optimizers.G.lr", -1), "count": "many"}
    with pytest.raises(ValidationError) as caught:
        Body.model_validate(raw)
    assert {error.path for error in explain(caught.value, Body)} == {"spec.optimizers.G.lr", "count"}


def test_an_old_version_is_migrated_step_by_step_and_the_original_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rename_batch(raw: Raw) -> Raw:
        raw["train"]["batch"] = raw["train"].pop("batch_size")
        return raw

    def rename_title(raw: Raw) -> Raw:
        raw["name"] = raw.pop("title")
        return raw

    monkeypatch.setitem(MIGRATIONS, -1, rename_title)
    monkeypatch.setitem(MIGRATIONS, 0, rename_batch)
    old = {**good(), "spec_version": -1, "title": "kept"}
    del old["name"]
    old["train"]["batch_size"] = old["train"].pop("batch")
    spec = parse_spec(old)
    assert (spec.spec_version, spec.name, spec.train.batch) == (1, "kept", old["train"]["batch_size"])
    assert "batch_size" in old["train"]
    assert "title" in errors_of({**old, "spec_version": 0})  # version 0 had no title any more


@pytest.mark.parametrize("version", [2, 0, "new", None, 1.5])
def test_a_version_that_no_migration_reaches_is_refused(version: object) -> None:
    error = errors_of({**good(), "spec_version": version})["spec_version"]
    assert "upgrade" in error.fix
