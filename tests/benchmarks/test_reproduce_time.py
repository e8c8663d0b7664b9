"""How long a training ran, as its events tell."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.reproduce.trained import Trained
from trainer.families.table import recipes
from trainer.spec.files import dump_spec


def test_the_time_of_a_training_leaves_out_when_it_was_interrupted(tmp_path: Path) -> None:
    told = [(0, "waiting"), (30, "started"), (40, "progress"), (100, "progress"), (4000, "started"), (4060, "finished")]
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    lines = [json.dumps({"time": (begun + timedelta(seconds=at)).isoformat(), "kind": kind}) for at, kind in told]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    (tmp_path / "model" / "spec.yaml").write_text(dump_spec(recipes()["gan-digits"]()))
    trained = Trained(tmp_path)
    assert trained.wall_seconds == 70 + 60
    assert trained.starts == 2
