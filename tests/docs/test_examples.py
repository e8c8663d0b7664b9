"""Every example of README and docs is tried at the lowest level that shows it right, and none of an unknown kind gets in."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from checkpoints import best, save
from fastapi.testclient import TestClient
from pages import PAGES, ROOT, Block, blocks, spans
from shell import Command, MissingError, WrongError, check, commands, leaf

from service.app import create_app
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.reconciler.loop import Reconciler
from service.runs.lifecycle import TABLE, Trigger
from service.settings import Settings
from trainer.families.table import recipes
from trainer.images import GridFacts, grid, save_png
from trainer.search import parse_search
from trainer.spec import parse_spec

ALL = tuple(blocks())
HERE = {("sh", ""), ("yaml", ""), ("json", ""), ("python", "interface")}
"""Kinds of blocks (language, begin of what stands behind it) that this file tries, each of them."""
ELSEWHERE = {
    (
        "python",
        "",
    ): "run by tests/service/searches/test_client_documents.py, tests/service/jobs/test_fork_document.py and "
    "tests/trainer/publish/test_models_document.py",
    ("python", "file"): "built and run by tests/contracts/test_families_doc.py",
    ("mermaid", ""): "drawn, not run: the lifecycle is compared with its table here, paths by test_pages.py",
    ("text", ""): "a listing of files; nothing runs it",
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def of(language: str, info: str = "") -> list[Block]:
    """The blocks of a kind."""
    return [block for block in ALL if kind(block) == (language, info)]


def kind(block: Block) -> tuple[str, str]:
    """Language, and what stands behind it up to a `=`."""
    return block.language, block.info.partition("=")[0]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The API with a fake Ray and a fake registry."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, allowed_hosts=("testserver",), reconciler=False, mlflow_uri="http://127.0.0.1:1")
    with TestClient(create_app(settings, FakeRay(cpus=64), FakeRegistry())) as client:
        client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        yield client


@pytest.mark.parametrize("block", ALL, ids=str)
def test_every_block_of_code_is_of_a_kind_that_is_tried(block: Block) -> None:
    assert kind(block) in HERE | ELSEWHERE.keys()


# -- shell


@pytest.mark.parametrize("block", of("sh"), ids=str)
def test_every_shell_line_is_taken_by_what_it_calls(block: Block) -> None:
    found = list(commands(block.text))
    assert found
    for command in found:
        check(command)


WRONG = """\
agon sumbit dcgan-digits
agon submit dcgan-digit
agon submit dcgan-digits --wiat
agon submit dcgan-digits --set train.imges=1
agon submit dcgan-digits --set train.batch=7
agon search search.yaml --set trials=none
agon search extend x --more 3
agon sample demo --class 3
agon data pak photos.zip
agon train none-digits
python -m benchmarks.none
python -m benchmarks.plan --fast
python -c 'print('
make demonstration
make reproduce RECIPES=all
pytest tests/none
docker compose -f docker/none.yaml up
kubectl apply -k k8s/overlays/none
kubectl port-forward svc/agon-api 1
docker/none.sh
wget x
"""


@pytest.mark.parametrize("line", [*WRONG.splitlines(), "X=$(agon none)"])
def test_a_line_that_would_fail_is_seen(line: str) -> None:
    found = list(commands(line))
    with pytest.raises((WrongError, SyntaxError)):
        check(found[0])


PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b(?!=)|…|\.\.\.|[\[|<]")
"""What the reader fills in: `agon retry JOB`, `agon data pack SOURCE [OUT]`."""


@each_page
def test_every_mention_of_a_command_has_verbs_and_options_that_there_are(page: Path) -> None:
    """Whole ones are tried as a reader would type them; of those with placeholders, verb and options."""
    for span in dict.fromkeys(spans(page.read_text())):
        if re.match(r"(?:[A-Z_]+=\S+ )*(?:agon [a-z]|make [a-z]|python -m (?:trainer|service|benchmarks))", span):
            mentioned(span)


def mentioned(span: str) -> None:
    """Raises WrongError."""
    if not PLACEHOLDER.search(span):
        for command in commands(span):
            with suppress(MissingError):  # `agon show`, as one speaks of it
                check(command)
    elif "agon " in span:
        words = span.partition("agon ")[2].split()
        with suppress(MissingError):
            command, _, _ = leaf(words)
            options = {option for parameter in command.params for option in (*parameter.opts, "--help", "-h")}
            for option in re.findall(r"(?:^|[\s\[])(--[a-z-]+|-[a-zA-Z]\b)", span):
                if option not in options:
                    raise WrongError(f"{span}: no {option}")


@pytest.mark.parametrize(
    "span", ["agon retri JOB", "agon retry JOB [--now]", "agon show --all", "make demos", "python -m benchmarks.no"]
)
def test_a_mention_of_what_there_is_not_is_seen(span: str) -> None:
    with pytest.raises(WrongError):
        mentioned(span)


def test_the_readme_names_recipes_that_there_are_and_every_family() -> None:
    """`-digits` stands for those of the row's other recipes, `biggan-deep-…` for all that begin so."""
    (rows,) = re.findall(r"^## What it trains\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`([a-z0-9-]+…?)`", rows)) - {"-digits"}
    whole = {name for name in named if not name.endswith("…")}
    assert whole <= set(recipes())
    begun = {name for name in recipes() for start in named - whole if name.startswith(start[:-1])}
    assert {recipes()[name]().arch.family for name in whole | begun} == {
        make().arch.family for make in recipes().values()
    }


@each_page
def test_every_setting_that_a_document_names_is_read_somewhere(page: Path) -> None:
    named = set(re.findall(r"\bAGON_[A-Z_]+[A-Z]", page.read_text()))
    assert named <= settings_read(), named - settings_read()


@cache
def settings_read() -> set[str]:
    """`AGON_…` in code and deployment, and those that `service/settings.py` reads by its fields."""
    files = [
        path
        for folder in ("service", "trainer", "docker", "k8s")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    ]
    texts = [path.read_text(errors="replace") for path in files if path.suffix in (".py", ".yaml", ".sh", "")]
    return {name for text in texts for name in re.findall(r"\bAGON_[A-Z_]+[A-Z]", text)} | {
        f"AGON_{name.upper()}" for name in Settings.model_fields
    }


# -- REST


CURLS = [block for block in of("sh") if "curl" in block.text]
PICTURES = [block for block in CURLS if "/samples/" in block.text]
SAVED = [block for block in CURLS if "/checkpoints" in block.text]
"""Both of a job that trains."""
TAGGED = [block for block in CURLS if "If-Match" in block.text]
ASKED = [block for block in CURLS if "/generate" in block.text]
"""Of models: tried by tests/service/serving/test_serving_document.py, which has some to ask."""


@pytest.mark.parametrize("block", [block for block in CURLS if block not in PICTURES + SAVED + TAGGED + ASKED], ids=str)
def test_every_request_is_answered_as_the_document_says(api: TestClient, block: Block) -> None:
    """In order; what follows a job is asked for at the end, when the job has been cancelled, so that the stream ends.

    A block that submits no job speaks of one that there is.
    """
    later: list[str] = []
    job = "" if "recipe" in block.text else api.post("/v1/jobs", json={"recipe": "dcgan-digits"}).json()["id"]
    for command in commands(block.text):
        if command.program == "python" and job:
            job = printed(command.words[2], json.dumps({"id": job}))
        if command.program != "curl":
            continue
        method, path, body = request(command)
        if path.endswith("/events"):
            later.append(path)
            continue
        reply = api.request(method, path.replace("$JOB", job), json=body)
        if path == "/v1/jobs":
            assert reply.status_code == 201, reply.text
            job = reply.json()["id"]
        elif path.endswith("/samples"):
            assert (reply.status_code, reply.json()["type"]) == (404, "urn:agon:problem:not-found"), (
                "before the first grid"
            )
        else:
            assert reply.status_code == (202 if method == "POST" else 200), reply.text
    assert re.fullmatch(r"j-\w+", job)
    api.post(f"/v1/jobs/{job}/cancel")
    context = api.app.state.context  # type: ignore[attr-defined]
    Reconciler(context.db, context.ray, context.settings, "r1").round()
    assert api.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"
    for path in later:
        reply = api.get(path.replace("$JOB", job))
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert "event: state" in reply.text


@pytest.mark.parametrize("block", PICTURES, ids=str)
def test_every_request_for_a_picture_is_answered_by_one(api: TestClient, block: Block) -> None:
    job = api.post("/v1/jobs", json={"recipe": "dcgan-digits"}).json()["id"]
    batch = np.zeros((4, 16, 16, 1), np.uint8)
    folder = api.app.state.context.settings.jobs_root / job / "samples"  # type: ignore[attr-defined]
    save_png(folder / "step-000000500.png", grid(batch, 2), GridFacts.of(batch, 2, 500, 32_000))
    for command in commands(block.text):
        method, path, _ = request(command)
        reply = api.request(method, path.replace("$JOB", job))
        assert reply.status_code == 200, reply.text
        listed = path.partition("?")[0].endswith("/steps")
        assert reply.headers["content-type"] == ("application/json" if listed else "image/png")
    assert len(PICTURES) == 1


@pytest.mark.parametrize("block", SAVED, ids=str)
def test_every_request_for_a_checkpoint_is_answered(api: TestClient, block: Block) -> None:
    job = api.post("/v1/jobs", json={"recipe": "dcgan-digits"}).json()["id"]
    folder = api.app.state.context.settings.jobs_root / job  # type: ignore[attr-defined]
    for step in (500, 1000, 1500):
        save(folder, step)
    best(folder, 1000)
    for command in commands(block.text):
        method, path, body = request(command)
        reply = api.request(method, path.replace("$JOB", job), json=body)
        assert reply.status_code == (204 if method == "DELETE" else 200), reply.text
        tar = path.endswith("/archive")
        assert reply.headers.get("content-type") in ("application/x-tar" if tar else "application/json", None)
    assert SAVED


@pytest.mark.parametrize("block", TAGGED, ids=str)
def test_every_change_of_what_was_seen_is_made_once(api: TestClient, block: Block) -> None:
    job, tag = api.post("/v1/jobs", json={"recipe": "dcgan-digits"}).json()["id"], ""
    for command in commands(block.text):
        if command.program == "python":
            tag = printed(command.words[2], api.get(f"/v1/jobs/{job}").text)
        if command.program != "curl" or "If-Match: $ETAG" not in command.words:
            continue
        method, path, body = request(command)
        path, headers = path.replace("$JOB", job), {"If-Match": tag}
        assert api.request(method, path, json=body, headers=headers).json()["notes"] == body["set"]["notes"]
        body["set"]["notes"] = "another's"
        assert api.request(method, path, json=body, headers=headers).status_code == 412
    assert TAGGED


def request(command: Command) -> tuple[str, str, Any]:
    """Method, path and body of a curl line. Raises ValueError for an option that this test doesn't know."""
    words, method, path, body = iter(command.words[1:]), "", "", None
    for word in words:
        if word in ("-X", "-d", "-H", "-o"):
            value = next(words)
            method = value if word == "-X" else method
            body = json.loads(value) if word == "-d" else body
        elif found := re.fullmatch(r"(?:\$AGON|localhost:8700)(/.*)", word):
            path = found[1]
        elif not re.fullmatch(r"-[fsSN]+", word):
            raise ValueError(f"curl {word}")
    return method or ("GET" if body is None else "POST"), path, body


def printed(code: str, given: str) -> str:
    """What `python -c code` prints when it reads that."""
    out, before = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(given)
    try:
        with redirect_stdout(out):
            exec(compile(code, "<document>", "exec"), {})
    finally:
        sys.stdin = before
    return out.getvalue().strip()


@each_page
def test_every_call_that_a_document_names_exists(api: TestClient, page: Path) -> None:
    document = api.app.openapi()["paths"]  # type: ignore[attr-defined]
    known = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, methods in document.items() for method in methods
    }
    named = re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/(?:v1/[\w/{}-]*[\w}]|healthz|readyz))", page.read_text())
    asked = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in named}
    assert asked <= known, asked - known


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_the_example_of_a_refusal_is_one(api: TestClient, block: Block) -> None:
    shown = json.loads(block.text)
    reply = api.post("/v1/validate", json={"recipe": "dcgan-digits", "set": {"train.batch": 7}})
    assert reply.json() | {"request_id": ""} == shown | {"request_id": ""}


def test_the_drawing_of_a_jobs_life_is_its_table() -> None:
    (block,) = (block for block in of("mermaid") if "stateDiagram" in block.text)
    drawn = set(re.findall(r"^ +(\w+) --> (\w+)", block.text, re.MULTILINE))
    table = {
        (a.value, b.value) for a, ways in TABLE.items() for way, b in ways.items() if way is not Trigger.EXTEND
    }  # which is of searches
    straight = {(a, b) for a in ("starting", "running") for b in ("cancelled", "paused")}  # the sentence below it
    assert drawn == table - straight


# -- specs and interfaces


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_every_spec_is_valid(block: Block) -> None:
    raw = yaml.safe_load(block.text)
    if "space" in raw:
        base = recipes()[raw["base"]["recipe"]]()
        assert parse_search({**raw, "base": base.model_dump(mode="json")}).name == raw["name"]
    else:
        whole = {**recipes()["dcgan-digits"]().model_dump(mode="json"), **raw}
        for section, values in raw.items():
            assert values.items() <= parse_spec(whole).model_dump(mode="json")[section].items()


@pytest.mark.parametrize("block", of("python", "interface"), ids=str)
def test_what_the_interfaces_define_is_defined(block: Block) -> None:
    assert set(re.findall(r"\b(?:class|def) \w+", block.text)) <= defined()


@cache
def defined() -> frozenset[str]:
    """`class X` and `def x` of all code."""
    files = (path for folder in ("trainer", "service", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
    return frozenset(found for path in files for found in re.findall(r"\b(?:class|def) \w+", path.read_text()))
