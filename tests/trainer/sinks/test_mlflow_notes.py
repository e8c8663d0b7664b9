"""What an MLflow run is told of labels, notes and fields that change between two attempts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainer import tracking
from trainer.families.table import recipes
from trainer.sinks.mlflow import MlflowSink
from trainer.sinks.spool import Spool
from trainer.spec import with_overrides
from trainer.wire import JobFile

SPEC = recipes()["dcgan-digits"]()


class Server:
    """An MLflow run that changes no parameter, as MLflow doesn't."""

    def __init__(self, name: str) -> None:
        self.tags, self.params = {tracking.NAME_TAG: name, "team": "theirs"}, dict[str, str]()

    def get_run(self, run: str) -> Any:
        return SimpleNamespace(data=SimpleNamespace(tags=dict(self.tags), params=dict(self.params)))

    def set_tag(self, run: str, name: str, value: str) -> None:
        self.tags[name] = value

    def delete_tag(self, run: str, name: str) -> None:
        del self.tags[name]

    def update_run(self, run: str, name: str) -> None:
        self.tags[tracking.NAME_TAG] = name

    def log_batch(self, run: str, params: Any) -> None:
        for param in params:
            assert self.params.setdefault(param.key, param.value) == param.value, "MLflow refuses this"


def job(folder: Path, *changes: str) -> JobFile:
    spec = with_overrides(SPEC, changes)
    return JobFile(job_id="j-1", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(folder))


def test_tags_are_the_labels_as_they_are_now_and_nobody_elses_are_touched(tmp_path: Path) -> None:
    server: Any = Server("dcgan-digits-j-1")
    tracking.note(server, "r", job(tmp_path, "labels.team=vision", "labels.old=x", "notes=why"))
    assert server.tags == {
        "team": "theirs", "agon.label.team": "vision", "agon.label.old": "x",
        tracking.NOTE_TAG: "why", tracking.NAME_TAG: "dcgan-digits-j-1",
    }  # fmt: skip
    tracking.note(server, "r", job(tmp_path, "labels.team=sound", "name=renamed"))
    assert server.tags == {
        "team": "theirs", "agon.label.team": "sound", tracking.NOTE_TAG: "why", tracking.NAME_TAG: "renamed-j-1",
    }  # fmt: skip
    server.tags[tracking.NAME_TAG] = "my favourite"
    tracking.note(server, "r", job(tmp_path, "name=again"))
    assert server.tags[tracking.NAME_TAG] == "my favourite", "someone named it by hand"


def test_what_the_control_plane_has_told_of_a_later_edit_is_not_undone_by_an_attempt_that_began_before(
    tmp_path: Path,
) -> None:
    server: Any = Server("edited-j-1")
    server.tags |= {tracking.COUNT_TAG: "2", "agon.label.team": "sound"}
    before = dict(server.tags)
    tracking.note(server, "r", job(tmp_path, "labels.team=vision", "notes=why").replace(noted=1))
    assert server.tags == before
    tracking.note(server, "r", job(tmp_path, "labels.team=vision", "notes=why").replace(noted=2))
    assert (server.tags["agon.label.team"], server.tags[tracking.NOTE_TAG]) == ("vision", "why")


def test_a_field_that_was_edited_between_two_attempts_is_a_tag_since_mlflow_changes_no_parameter(
    tmp_path: Path,
) -> None:
    server: Any = Server("n")

    def log(*changes: str) -> None:
        MlflowSink(Spool(tmp_path / "events.jsonl"), job(tmp_path, *changes))._log_params(server, "r")

    log("labels.a=b", "notes=long")
    assert server.params["resources.workers"] == "2"
    assert not [name for name in server.params if name.startswith(("labels", "notes"))]
    before = dict(server.params)
    log("resources.workers=4", "retry.attempts=7")
    assert server.params == before
    assert {name: value for name, value in server.tags.items() if name.startswith("agon.edited.")} == {
        "agon.edited.resources.workers": "4", "agon.edited.retry.attempts": "7",
    }  # fmt: skip
    log()
    assert server.tags["agon.edited.resources.workers"] == "2", "and back again"


@pytest.mark.long
def test_a_real_mlflow_takes_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    api = tracking.client(uri)
    for changes in (("labels.team=vision", "notes=why"), ("resources.workers=4", "name=renamed")):
        file = job(tmp_path, *changes).replace(mlflow_uri=uri, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")
        run = tracking.run_id(file)
        tracking.note(api, run, file)
        MlflowSink(Spool(tmp_path / "events.jsonl"), file)._log_params(api, run)
    found = api.get_run(run)
    assert found.info.run_name == "renamed-j-1"
    assert found.data.tags["agon.edited.resources.workers"] == "4"
    assert found.data.tags["agon.trace"] == "ab" * 16
    assert (found.data.tags["mlflow.note.content"], "agon.label.team" in found.data.tags) == ("why", False)
    assert found.data.params["resources.workers"] == "2"
