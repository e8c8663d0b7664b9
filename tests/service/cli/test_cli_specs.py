"""What works without a stack: recipes, init, validate, help; and what errors look like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import local
from service.cli import doc as cli_doc
from service.cli.app import CHILDREN, VERBS
from service.cli.commented import commented
from service.cli.source import read
from service.specs import doc as spec_doc
from service.stack.ports import Ports
from service.stack.record import PartRecord, StackRecord
from trainer.families.table import recipes
from trainer.spec import JobSpec, SpecError, dump_spec, load_spec

Agon = Callable[..., Any]
OWN = [verb.__name__ for verbs in VERBS.values() for verb in verbs]


def test_help_loads_nothing_heavy_and_no_server() -> None:
    script = (
        "import sys; sys.argv = ['agon', '--help']\n"
        "from service.cli import main\n"
        "try: main()\nexcept SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'ray', 'mlflow', 'fastapi', 'sqlalchemy', 'uvicorn', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", OWN)
def test_every_verb_has_help_with_examples(agon: Agon, verb: str) -> None:
    found = agon(verb, "--help")
    assert found.code == 0
    assert f"agon {verb}" in found.out
    assert "Examples" in found.out


def test_the_root_help_names_every_verb_and_the_exit_codes(agon: Agon) -> None:
    text = agon("--help").out
    for verb in (*OWN, *(child.__name__ for child in CHILDREN)):
        assert verb in text
    assert "Exit codes" in text


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(recipes()))
def test_init_prints_a_spec_that_reads_back_as_the_recipe(agon: Agon, tmp_path: Path, name: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(agon("init", name).out)
    assert load_spec(path) == recipes()[name]()


def test_init_explains_every_described_field_and_keeps_overrides(agon: Agon) -> None:
    text = agon("init", "dcgan-digits", "--set", "train.batch=128").out
    assert yaml.safe_load(text)["train"]["batch"] == 128
    assert "# Global batch over all workers." in text
    assert "None" not in "\n".join(line for line in text.splitlines() if line.lstrip().startswith("#")), (
        "YAML says null"
    )


def test_comments_do_not_change_a_spec_with_awkward_values(tmp_path: Path) -> None:
    spec = recipes()["dcgan-digits"]()
    odd = spec.replace(data=spec.data.replace(url="file:///tmp/a b: #c 'd'"), publish={"model": "m"})
    path = tmp_path / "job.yaml"
    path.write_text(commented(odd, "x"))
    assert load_spec(path) == odd


def test_recipes_as_json_is_json_and_nothing_else(agon: Agon) -> None:
    found = agon("recipes", "--json")
    assert {item["name"] for item in json.loads(found.out)} == set(recipes())
    assert found.err == ""


def test_validate_works_offline_and_prints_the_resolved_spec(agon: Agon, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(dump_spec(recipes()["gan-digits"]()))
    found = agon("validate", str(path), "--set", "train.images=640", "--json")
    assert found.code == 0
    assert JobSpec.model_validate(json.loads(found.out)).train.images == 640


def test_an_invalid_spec_names_every_field_and_exits_2_without_a_traceback(agon: Agon) -> None:
    found = agon("validate", "dcgan-digits", "--set", "train.batch=0", "--set", "resources.workers=0")
    assert found.code == 2
    assert "train.batch" in found.err
    assert "resources.workers" in found.err
    assert "Traceback" not in found.err
    assert found.out == ""


@pytest.mark.parametrize(
    ("recipe", "change", "expected"),
    [
        ("cgan-digits", "arch.classes=0", "set it to the number of classes that the data has"),
        ("ae-digits", "objective.loss=hinge", "leave it out, or use"),
        ("dcgan-digits", "evaluation.metrics=[reconstruction]", "leave it out, or use a family that has one: bigan"),
        ("dcgan-digits", "arch.latent.categorical=[10]", "families that have: infogan"),
        ("infogan-digits", "arch.resolution=48", "use 8, 16, 28, 32, 64 or 128"),
    ],
)
def test_what_a_family_can_not_do_is_said_with_the_fix(agon: Agon, recipe: str, change: str, expected: str) -> None:
    found = agon("validate", recipe, "--set", change, "--offline")
    assert found.code == 2
    assert change.partition("=")[0] in found.err
    assert expected in " ".join(found.err.split())


@pytest.mark.parametrize("text", ["a: [", "- 1", "a: 1\na: 2"])
def test_a_file_that_is_no_spec_is_explained(agon: Agon, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    found = agon("validate", str(path))
    assert found.code == 2
    assert str(path) in found.err


def test_a_misspelt_recipe_is_answered_with_a_near_one(agon: Agon) -> None:
    found = agon("submit", "dcgan-digit")
    assert found.code == 2
    assert "did you mean dcgan-digits" in found.err


def test_without_a_stack_the_message_says_how_to_start_one(agon: Agon) -> None:
    for arguments in (["jobs"], ["submit", "dcgan-digits"], ["pull", "demo", "out"]):
        found = agon(*arguments)
        assert found.code == 3, arguments
        assert "agon up" in found.err


def test_status_of_nothing_is_not_success(agon: Agon) -> None:
    found = agon("status", "--json")
    assert found.code == 1
    assert json.loads(found.out)["running"] is False
    assert agon("down").code == 0


def test_relative_data_becomes_absolute_and_urls_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read("dcgan-64", ["data.url=shards"]).body()["data"]["url"] == str(tmp_path / "shards")
    assert read("dcgan-64", ["data.url=s3://b/c"]).body()["data"]["url"] == "s3://b/c"
    assert read("dcgan-digits").body()["data"]["url"] == "builtin:digits"


def test_a_registered_dataset_passes_the_check_here_and_reaches_the_api_by_name(tmp_path: Path) -> None:
    assert read("dcgan-64", ["data.url=dataset:faces"]).body()["data"]["url"] == "dataset:faces"
    path = tmp_path / "job.yaml"
    raw = recipes()["dcgan-64"]().model_dump(mode="json")
    raw["data"]["url"] = "dataset:faces"
    path.write_text(yaml.safe_dump(raw))
    assert read(str(path)).body()["data"]["url"] == "dataset:faces"
    assert read(str(path), ["data.url=/elsewhere"]).body()["data"]["url"] == "/elsewhere"
    with pytest.raises(SpecError):
        read(str(path), ["train.batch=-1"])


@pytest.mark.parametrize(
    ("verb", "shows"),
    [
        ("data", "pack"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (("train", "--fresh"), ("pull", "MODEL"), ("sample", "--labels"))
        ),
    ],
)
def test_verbs_of_the_trainer_show_its_own_help(verb: str, shows: str) -> None:
    env = os.environ | {"AGON_HOME": "/nonexistent", "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", verb, "--help"], capture_output=True, text=True, env=env, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert shows in done.stdout


def test_data_roots_of_earlier_starts_are_said_until_they_are_forgotten(
    agon: Agon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = PartRecord(pid=1, create_time=2.0, url="http://127.0.0.1:1", log="x")
    record = StackRecord(
        stack_id="i", started_at=datetime.now(UTC), host="127.0.0.1", ports=asdict(Ports()), cpus=None,
        data_roots=("/srv/kept", str(tmp_path)), parts=dict.fromkeys(("ray", "mlflow", "api"), part),
    )  # fmt: skip
    forgotten = []

    def up(config: object, report: object, *, forget_roots: bool) -> local.Started:
        forgotten.append(forget_roots)
        return local.Started(record, ())

    monkeypatch.setattr(local, "up", up)
    said = agon("up", "--data-root", str(tmp_path)).err
    assert "jobs may also read data below /srv/kept, as at an earlier start" in said
    agon("up", "--forget-data-roots")
    assert forgotten == [False, True]


def test_a_packages_folder_needs_no_registry_wherever_it_stands(
    agon: Agon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").touch()
    called: list[list[str]] = []

    def execve(path: str, arguments: list[str], env: dict[str, str]) -> None:
        called.append(arguments[2:])
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    for words in (["--json", str(tmp_path)], [str(tmp_path), "--json"]):
        assert agon("sample", *words, "--out", "x.png").code == 0
        assert called.pop() == ["trainer.publish", "sample", *words, "--out", "x.png"]


@pytest.mark.long
def test_a_childs_exit_code_is_the_commands(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "train", "no-such-recipe", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", [spec_doc, cli_doc], ids=["spec", "cli"])
def test_generated_pages_are_up_to_date(page: Any) -> None:
    assert page.TARGET.read_text(encoding="utf-8") == page.render(), "run `make docs`"
