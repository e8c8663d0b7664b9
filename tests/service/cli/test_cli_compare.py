"""`agon compare`: what differs between jobs, what came of them, and their curves on one scale."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from forks import trained

from service.cli.compare import BARS, WIDTH, drawn
from trainer.spec.differences import differing, flat

Agon = Callable[..., Any]


def told(kind: str, step: int, **data: Any) -> dict[str, Any]:
    return {"kind": kind, "step": step, "images": 64 * step, "data": data}


@pytest.fixture
def jobs(agon: Agon, world: Any) -> list[str]:
    """Two jobs that have trained, the second for half as long."""
    for steps, rate, fid in ((200, "0.001", 10.0), (100, "0.002", 20.0)):
        driver = world.drive(
            *(told("progress", step, metrics={"G/loss": step / 100, "D/accuracy": 0.5}, total_images=12_800) for step in range(10, steps + 1, 10)),
            told("scores", steps, scores={"fid": fid}, provenance={}),
            told("finished", steps, outcome="completed"),
        )  # fmt: skip
        assert agon("submit", "dcgan-digits", "--set", f"optimizers.G.lr={rate}", "--wait").code == 0
        driver.join()
    newest, first = (job["id"] for job in json.loads(agon("jobs", "--json").out))
    return [first, newest]


def test_the_fields_that_differ_the_scores_and_the_curves_are_shown(agon: Agon, jobs: list[str]) -> None:
    found = agon("compare", *jobs)
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert lines[0].split() == ["field", *jobs], "they have one name, so their ids tell them apart"
    assert [line.split() for line in lines[1 : lines.index("")]] == [["optimizers.G.lr", "0.001", "0.002"]]
    assert ["fid", "10", "20"] in [line.split() for line in lines]
    curves = lines[lines.index("", lines.index("") + 1) + 1 :]
    loss = next(line for line in curves if line.startswith("G/loss"))
    assert "0.1 → 2" in loss
    assert not any(line.startswith("D/accuracy") for line in curves)
    both = [sum(line.count(bar) for bar in BARS) for line in curves[-2:]]
    assert both == [WIDTH - 2, WIDTH // 2 - 1], (
        "from the first measure on, as long as their share of the longest training"
    )


def test_a_metric_can_be_chosen_and_json_has_it_all(agon: Agon, jobs: list[str]) -> None:
    found = agon("compare", *jobs, "--metric", "D/accuracy")
    assert "D/accuracy" in found.out
    assert "G/loss" not in found.out
    whole = json.loads(agon("compare", *jobs, "--json").out)
    assert whole["differences"] == {"optimizers.G.lr": [0.001, 0.002]}
    assert [job["id"] for job in whole["jobs"]] == jobs
    assert whole["jobs"][1]["curves"]["scores"]["fid"]["last"] == [20.0]


def test_a_fork_is_drawn_behind_its_parent_and_with_lineage_as_one_curve_with_it(
    agon: Agon, world: Any, jobs: list[str]
) -> None:
    parent = jobs[1]
    trained(world.settings.jobs_root / parent, json.loads(agon("show", parent, "--json").out)["spec"], 100)
    driver = world.drive(
        *(told("progress", step, metrics={"G/loss": 1 + step / 100}, total_images=6400) for step in range(10, 101, 10)),
        told("finished", 100, outcome="completed"),
    )  # fmt: skip
    weights = ("--weights", "--restart", "changed", "--restart", "D")
    child = agon("fork", parent, *weights, "--set", "train.images=6400").out.strip()
    driver.join()
    behind, joined = (agon("compare", parent, child, "--metric", "G/loss", *how).out for how in ((), ("--lineage",)))
    bars = [[sum(line.count(bar) for bar in BARS) for line in found.splitlines()[-2:]] for found in (behind, joined)]
    assert bars == [[WIDTH // 2 - 1, WIDTH // 2 - 2], [WIDTH // 2 - 1, WIDTH - 2]]
    assert all("over 12,800 images" in found and "0.1 → 2" not in found.splitlines()[-2] for found in (behind, joined))
    assert ("1.1 → 2" in behind, "0.1 → 2" in joined) == (True, True)
    assert ["shown", "before", "0", "6,400"] in [line.split() for line in behind.splitlines()]


def test_less_than_two_jobs_and_an_unknown_one_are_refused(agon: Agon, jobs: list[str]) -> None:
    alone = agon("compare", jobs[0], jobs[0])
    assert (alone.code, "2 to 50 different jobs, and got 1" in alone.err) == (2, True)
    assert agon("compare", jobs[0], "nobody").code == 4
    assert "no curve of nonsense" in agon("compare", *jobs, "--metric", "nonsense").err


def test_a_field_that_one_spec_lacks_differs() -> None:
    specs = [{"arch": {"family": "gan", "hidden": 3}, "x": {}}, {"arch": {"family": "ae"}, "x": {}}]
    assert differing([flat(spec) for spec in specs]) == {"arch.family": ("gan", "ae"), "arch.hidden": (3, None)}


def test_a_curve_is_drawn_on_its_scale_and_a_flat_one_at_its_foot() -> None:
    assert drawn([1, 50, 100], [0.0, 0.5, 1.0], 0.0, 1.0, 100) == BARS[0] * 20 + BARS[4] * 19 + BARS[7]
    assert drawn([100], [5.0], 5.0, 5.0, 100) == " " * 39 + BARS[0]
    assert drawn([0], [5.0], 5.0, 5.0, 0) == BARS[0]
