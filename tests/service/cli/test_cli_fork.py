"""Forks from the command line, against the real API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from forks import trained

Agon = Callable[..., Any]


@pytest.fixture
def parent(agon: Agon, world: Any) -> str:
    """A job with two checkpoints."""
    job = str(agon("submit", "dcgan-digits").out.strip())
    spec = json.loads(agon("show", job, "--json").out)["spec"]
    for step in (100, 200):
        trained(world.settings.jobs_root / job, spec, step)
    return job


def test_a_fork_prints_its_id_and_both_are_shown_with_each_other(agon: Agon, world: Any, parent: str) -> None:
    found = agon("fork", "dcgan-digits", "--at", "100", "--set", "train.images=90000")
    assert found.code == 0, found.err
    child = found.out.strip()
    assert f"agon watch {child}" in found.err
    shown = " ".join(agon("show", child).out.split())
    assert f"began with the state of {parent} at step 100 (6,400 images)" in shown
    assert f"forks {child} (state at step 100)" in " ".join(agon("show", parent).out.split())
    weights = agon("fork", parent, "--weights", "--restart", "changed", "--restart", "D", "--json")
    fork = json.loads(weights.out)["fork"]
    assert (fork["mode"], fork["step"], fork["restart"]) == ("weights", 200, ["changed", "D"])


@pytest.mark.long
def test_refusals_are_in_the_words_that_were_typed(agon: Agon, world: Any, parent: str) -> None:
    refused = agon("fork", parent, "--set", "train.batch=128")
    assert refused.code == 2
    assert "train.batch: can't change on the way from a checkpoint (got 128)" in refused.err
    assert "--weights" in refused.err
    for arguments, code, said in (
        (("nobody",), 4, "no job 'nobody'"),
        ((parent, "--at", "newest"), 2, "neither latest nor best nor a step"),
        ((parent, "--at", "-3"), 2, "neither latest nor best nor a step"),
        ((parent, "--at", "7"), 4, "no checkpoint of step 7; it has those of steps 200, 100"),
        ((parent, "--at", "best"), 4, "no best checkpoint"),
        ((parent, "--restart", "D"), 2, "a state is taken whole"),
        (("no-search/3",), 4, "no search 'no-search'"),
    ):
        found = agon("fork", *arguments)
        assert found.code == code, (arguments, found.err)
        assert said in " ".join(found.err.split()), (arguments, found.err)
