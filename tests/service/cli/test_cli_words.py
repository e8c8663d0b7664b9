"""An error names what was typed: verbs for endpoints, options for parameters; and REST's own words stay REST's."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

import service
from service.app import create_app
from service.bodies.states import State
from service.cli import arguments, words
from service.cli.app import app
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.runs.kinds import KINDS
from service.settings import Settings
from trainer.search import TrialState


def _endpoints(home: Path) -> set[str]:
    api = create_app(Settings(home=home, log_level="CRITICAL"), FakeRay(cpus=1.0), FakeRegistry())
    paths = api.openapi()["paths"]
    return {f"{method.upper()} {re.sub('{[^}]+}', '{}', path)}" for path, of in paths.items() for method in of}


def test_every_endpoint_has_its_verb_or_is_known_to_have_none(tmp_path: Path) -> None:
    """So whatever endpoint a message comes to name, it is worded."""
    assert _endpoints(tmp_path) == set(words.VERBS)


def test_the_verbs_are_there() -> None:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for verb in filter(None, words.VERBS.values()):
        program, name, *rest = verb.split()
        assert program == "agon"
        assert name in commands, verb
        assert not rest or not hasattr(commands[name], "commands") or rest[0] in commands[name].commands, verb


def test_what_no_verb_does_is_for_jobs_browsers_and_programs_alone() -> None:
    none = {endpoint for endpoint, verb in words.VERBS.items() if verb is None}
    for_jobs = {"POST /v1/jobs/{}/events", "GET /v1/jobs/{}/desired"}
    for_browsers = {"POST /v1/session", "DELETE /v1/session"}
    for_browsers |= {f"GET /v1/models/{{}}/{kind}" for kind in ("generate", "path", "traverse")}  # of `<img>`
    assert none == for_jobs | for_browsers | {"GET /v1/schema", "GET /metrics", "GET /healthz", "GET /readyz"}


def test_every_message_of_the_service_that_names_an_endpoint_is_reworded() -> None:
    """Read from its source: what looks like an endpoint in a text is one that the table knows."""
    named = set()
    for path in Path(service.__file__).parent.rglob("*.py"):
        if path.parent.name not in ("cli", "client", "search"):
            lines = [line for line in path.read_text().splitlines() if 'f"' in line or "f'" in line or "fix" in line]
            for kind in KINDS.values():
                text = re.sub(r"\{\w+\.path\}", kind.path, "\n".join(lines))
                named |= set(words.ENDPOINT.findall(text))
    forms = {re.sub(r"\{[^}]+\}", "x", found) for found in named}
    assert {"GET /v1/jobs", "GET /v1/searches/x/logs"} <= forms
    unknown = {form for form in forms if not any(pattern.fullmatch(form) for pattern in words._PATTERNS)}
    assert not unknown


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("no job 'nope'; GET /v1/jobs lists them", "no job 'nope'; agon jobs lists them"),
        ("its log says why: GET /v1/jobs/j-1/logs", "its log says why: agon logs j-1"),
        ("GET /v1/searches/s-1/trials lists them", "agon search trials s-1 lists them"),
        ("GET /v1/searches/s-1/trials/t-00001.", "agon search show s-1/t-00001."),
        ("ended by POST /v1/searches/{search}/trials/{trial}/stop", "ended by agon search stop SEARCH TRIAL"),
        (
            "register it with POST /v1/datasets, or give its URL",
            "register it with agon datasets add SOURCE, or give its URL",
        ),
        ("ask GET /readyz, or not", "ask GET /readyz, or not"),
    ],
)
def test_endpoints_become_verbs(said: str, typed: str) -> None:
    assert words.typed(said) == typed


def test_states_that_can_be_asked_for_are_those_that_there_are() -> None:
    every = {state.value for state in State}
    assert set(get_args(arguments.RunStates)) == every
    assert set(get_args(arguments.TrialStates)) == {state.value for state in TrialState}


def test_errors_of_the_command_line_name_no_endpoint(agon: Any, world: Any) -> None:
    for arguments_, expected in (
        (("show", "nope"), "no job 'nope'; agon jobs lists them"),
        (("show", "no such/job"), "no job 'no such/job'; agon jobs lists them"),
        (("search", "show", "nope"), "no search 'nope'; agon search list lists them"),
        (("search", "stop", "an/y", "3"), "no search 'an/y'"),
    ):
        found = agon(*arguments_)
        assert found.code == 4
        assert expected in found.err
        assert "/v1/" not in found.err
    found = agon("events", "nope", "--after", "abc")
    assert found.code == 2
    assert "--after" in found.err
    found = agon("jobs", "--name", "no such")
    assert found.code == 2
    assert "--name" in found.err
    found = agon("jobs", "--state", "sleeping")
    assert found.code == 2
    for option, values, message in (
        ("--label", ("team",), "write NAME=VALUE"), ("--label", ("a.b=c",), "--label: is no label"),
        ("--label", ("a=b", "a=c"), "names a label twice"), ("--score", ("fid",), "--score: bounds no score"),
    ):  # fmt: skip
        for verb in (("jobs",), ("search", "list")):
            found = agon(*verb, *(part for value in values for part in (option, value)))
            assert (found.code, message in " ".join(found.err.split())) == (2, True), found.err


def test_a_filter_that_finds_nothing_says_so_and_how_many_others_there_are(agon: Any, world: Any) -> None:
    assert "no jobs; submit one" in agon("jobs", "--state", "failed").err
    agon("submit", "dcgan-digits")
    named = (("--state", "failed"), ("--family", "nofam"), ("--name", "other"))
    for filters in (*named, ("--label", "a=b", "--label", "c=d"), ("--score", "fid<20")):
        assert f"no job matches {' '.join(filters)}; there is 1 other" in agon("jobs", *filters).err
    assert "no searches; begin" in agon("search", "list", "--state", "paused").err


def test_a_job_that_this_cluster_can_never_hold_says_so_when_it_is_submitted(agon: Any, world: Any) -> None:
    found = agon("submit", "dcgan-digits", "--set", "resources.gpus_per_worker=1", "--set", "resources.workers=1")
    assert found.code == 0
    assert found.out.strip().startswith("j-")
    assert "more than the whole cluster has" in found.err
    assert "lower resources.cpus_per_worker or resources.gpus_per_worker" in found.err


def test_every_wrong_field_of_a_job_and_of_a_search_is_named_at_once(agon: Any, tmp_path: Path) -> None:
    wrong = ("--set", "optimizers.G.lr=abc", "--set", "train.images=-5", "--set", "foo.bar=1")
    for verb in ("submit", "validate"):
        found = agon(verb, "dcgan-digits", *wrong)
        assert found.code == 2
        assert all(path in found.err for path in ("optimizers.G.lr", "train.images", "foo.bar")), found.err
        assert "3 fields are wrong" in found.err
    file = tmp_path / "search.yaml"
    file.write_text("base: {recipe: dcgan-digits}\nspace: {optimizers.G.lr: [1e-4, 1e-3]}\n")
    wrong = (
        "--set",
        "trials=-1",
        "--set",
        "metric=nope",
        "--set",
        "base.train.images=-5",
        "--set",
        "algorithm=magic",
        "--set",
        "x",
    )
    found = agon("search", "validate", str(file), *wrong)
    assert found.code == 2
    for path in ("trials", "base.train.images", "algorithm", "x"):
        assert re.search(rf"^  {re.escape(path)}: ", found.err, re.MULTILINE), found.err
    found = agon(
        "search", "validate", str(file), "--set", "trials=-1", "--set", "metric=nope", "--set", "space.foo.bar=[1, 2]"
    )
    for path in ("trials", "metric", "space.foo.bar"):
        assert re.search(rf"^  {re.escape(path)}: ", found.err, re.MULTILINE), found.err


def test_down_tells_programs_what_it_stopped(agon: Any) -> None:
    assert json.loads(agon("down", "--json").out) == {"home": os.environ["AGON_HOME"], "stopped": 0, "interrupted": []}
