"""A run's file says who wrote it: an older trainer refuses a newer one in words, and reads its elders'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.families.table import recipes
from trainer.launch import driver
from trainer.wire import JOB_FILE, WIRE, JobFile, read_run_file


@pytest.fixture
def written(tmp_path: Path) -> dict[str, object]:
    spec = recipes()["dcgan-digits"]()
    job = JobFile(job_id="j-1", attempt=1, job_dir=str(tmp_path), cache_dir=str(tmp_path), spec=spec)
    return json.loads(job.model_dump_json())  # type: ignore[no-any-return]


def test_a_file_of_this_or_an_older_version_is_read(written: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / JOB_FILE
    path.write_text(json.dumps(written))
    assert read_run_file(JobFile, path).wire == WIRE
    old = {name: value for name, value in written.items() if name not in ("wire", "mirror", "told")}
    path.write_text(json.dumps(old))
    assert read_run_file(JobFile, path).job_id == "j-1"


def test_a_newer_one_is_refused_with_what_to_do(
    written: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / JOB_FILE
    path.write_text(json.dumps({**written, "wire": WIRE + 1, "something": "new"}))
    with pytest.raises(
        ValueError, match=f"newer Agon .file version {WIRE + 1}, this trainer knows {WIRE}.: bring the Ray nodes"
    ):
        read_run_file(JobFile, path)
    assert driver.main([str(path)]) == 2
    assert "was written by a newer Agon" in capsys.readouterr().err
    assert not (tmp_path / "events.jsonl").exists(), "nothing was begun"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON object"),
        ("[]", "is no JSON object"),
        ('{"wire": 1}', "job_id: Field required"),
        ('{"wire": "x"}', "wire: Input"),
    ],
)
def test_what_is_none_is_told_without_a_traceback(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / JOB_FILE).write_text(content)
    with pytest.raises(ValueError, match=says):
        read_run_file(JobFile, tmp_path / JOB_FILE)
