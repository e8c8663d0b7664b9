"""The published schema describes every field, and the spec loads fast where torch is not installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from trainer.families.table import NAMES, recipes
from trainer.search import SearchSpec
from trainer.spec import JobSpec
from trainer.spec.checks import problems
from trainer.spec.optim import Schedule


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    schema = JobSpec.model_json_schema()
    for model, definition in {**schema["$defs"], "JobSpec": schema}.items():
        for name, field in definition.get("properties", {}).items():
            yield f"{model}.{name}", field


def test_every_field_of_the_schema_is_described() -> None:
    # A tag needs no words, and a $ref alone carries its section's description.
    bare = [name for name, field in properties() if not field.get("description") and not {"const", "$ref"} & set(field)]
    assert bare == []


def test_every_section_is_described_and_closed() -> None:
    for name, definition in JobSpec.model_json_schema()["$defs"].items():
        assert definition["description"], name
        assert definition["additionalProperties"] is False, name


def test_the_schema_tells_the_members_of_the_unions_apart() -> None:
    arch = JobSpec.model_json_schema()["properties"]["arch"]
    assert arch["discriminator"]["propertyName"] == "family"
    assert set(arch["discriminator"]["mapping"]) == set(NAMES)


def numbers(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number that the schema admits, with its path."""
    if isinstance(node, dict):
        if node.get("type") in ("integer", "number") and not {"enum", "const"} & set(node):
            yield path, node
        for name, item in node.items():
            yield from numbers(item, f"{path}.{name}" if isinstance(item, dict) else path)
    elif isinstance(node, list):
        for item in node:
            yield from numbers(item, path)


@pytest.mark.parametrize("model", [JobSpec, SearchSpec])
def test_every_number_has_bounds(model: type[JobSpec] | type[SearchSpec]) -> None:
    """But those that one of a few values is, and those of a space, which the varied field bounds."""
    checked = ("resolution", "attention", "Uniform", "LogUniform", "QUniform")
    unbounded = [
        path
        for path, node in numbers(model.model_json_schema(), "")
        if not {"maximum", "exclusiveMaximum"} & set(node) or not {"minimum", "exclusiveMinimum"} & set(node)
    ]
    assert [path for path in unbounded if not set(checked) & set(path.split("."))] == []


def test_a_number_beyond_64_bits_is_refused_where_a_field_sets_no_bound() -> None:
    spec = recipes()["dcgan-digits"]()
    odd = spec.model_copy(update={"arch": spec.arch.model_copy(update={"g_width": 2**63})})
    assert [error.path for error in problems(odd)] == ["arch.g_width"]


PROBE = """
import sys, time
start = time.process_time()
import {module}
taken = time.process_time() - start
assert "torch" not in sys.modules, "torch was imported"
assert not {{"numpy", "ray", "mlflow", "fastapi", "sqlalchemy"}} & set(sys.modules), sorted(sys.modules)
{more}
print(taken)
"""


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("trainer.spec", ""),
        ("trainer.wire", ""),
        ("trainer.families.table", "trainer.families.table.recipes(); assert 'torch' not in sys.modules"),
    ],
)
def test_it_loads_without_torch_in_a_fresh_process(module: str, more: str) -> None:
    code = PROBE.format(module=module, more=more)
    taken = []
    for _ in range(3):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
        taken.append(float(ran.stdout))
    # The promise is 0.5 s on an idle machine, Pydantic included. The best of three, in CPU time of the process, is close
    # to that whatever else runs; the rest is room for slower processors.
    assert min(taken) < 1.0, taken


class TestSchedule:
    def test_constant_is_one(self) -> None:
        assert [Schedule().factor(i, 100, i) for i in (0, 50, 100)] == [1.0, 1.0, 1.0]

    def test_linear_holds_and_then_falls_to_final(self) -> None:
        schedule = Schedule(kind="linear", start=0.5, final=0.2)
        assert [schedule.factor(i, 100, 0) for i in (0, 50, 75, 100, 130)] == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])

    def test_exponential_counts_updates_and_stops_at_final(self) -> None:
        schedule = Schedule(kind="exponential", decay=0.5, final=0.1)
        assert [schedule.factor(0, 100, u) for u in (0, 1, 3, 4, 10_000)] == pytest.approx([1.0, 0.5, 0.125, 0.1, 0.1])

    def test_warmup_rises_from_zero(self) -> None:
        schedule = Schedule(warmup_images=10)
        assert [schedule.factor(i, 100, 0) for i in (0, 5, 10, 50)] == pytest.approx([0.0, 0.5, 1.0, 1.0])
