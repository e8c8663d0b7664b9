"""A checkpoint is whole or not there; a damaged one is found and passed over."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from trainer.checkpoint import files, latest, read, step_path, write
from trainer.checkpoint.files import clear_leftovers, steps, survey
from trainer.errors import CheckpointError, classify
from trainer.wire import FailureKind


def tensors(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {
        "a": torch.full((3, 2), value),
        "b": torch.arange(4),
        "c": torch.tensor(value, dtype=torch.float64),
        "d": torch.randn(5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16),
        "empty": torch.zeros(0, 3),
    }


META = {"clock": {"step": 7}, "extras": {"x": [1, None, "ü"]}}


def test_what_was_written_is_read_bit_for_bit(tmp_path):
    path = write(tmp_path, 7, tensors(0.1), META)
    found, meta = read(path)
    assert path == tmp_path / "step-000000007"
    assert sorted(entry.name for entry in path.iterdir()) == ["manifest.json", "meta.json", "state.safetensors"]
    assert meta == META
    assert found.keys() == tensors().keys()
    for name, tensor in tensors(0.1).items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_only_safetensors_and_json_are_written(tmp_path):
    path = write(tmp_path, 1, tensors(), META)
    for name in ("meta.json", "manifest.json"):
        json.loads((path / name).read_text())
    header = int.from_bytes((path / "state.safetensors").read_bytes()[:8], "little")
    json.loads((path / "state.safetensors").read_bytes()[8 : 8 + header])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit of the state": lambda path: flip(path / "state.safetensors"),
    "a flipped bit of the meta data": lambda path: flip(path / "meta.json"),
    "a truncated state": lambda path: os.truncate(path / "state.safetensors", 100),
    "a missing state": lambda path: (path / "state.safetensors").unlink(),
    "a missing manifest": lambda path: (path / "manifest.json").unlink(),
    "a truncated manifest": lambda path: os.truncate(path / "manifest.json", 20),
    "an empty folder": lambda path: [entry.unlink() for entry in path.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_refused_and_passed_over(tmp_path, damage, caplog):
    for step in (1, 2, 3):
        write(tmp_path, step, tensors(step), META)
    damage(step_path(tmp_path, 3))
    with pytest.raises(CheckpointError, match="step-000000003"):
        read(step_path(tmp_path, 3))
    assert latest(tmp_path) == step_path(tmp_path, 2)
    assert "step-000000003" in caplog.text
    assert list(survey(tmp_path)[1]) == [step_path(tmp_path, 3)]
    write(tmp_path, 3, tensors(3), META)  # training comes by again
    assert latest(tmp_path) == step_path(tmp_path, 3)


def test_there_is_no_latest_in_an_empty_or_missing_folder(tmp_path):
    assert latest(tmp_path) is None
    assert latest(tmp_path / "none") is None
    write(tmp_path, 1, tensors(), META)
    (step_path(tmp_path, 1) / "manifest.json").unlink()
    assert latest(tmp_path) is None


def test_an_undamaged_checkpoint_is_never_replaced(tmp_path):
    write(tmp_path, 5, tensors(1.0), META)
    write(tmp_path, 5, tensors(2.0), META)
    assert torch.equal(read(step_path(tmp_path, 5))[0]["a"], tensors(1.0)["a"])


@pytest.mark.parametrize("fails", ["save_file", "fsync", "rename"])
def test_a_full_disk_leaves_nothing_behind_and_earlier_checkpoints_whole(tmp_path, monkeypatch, fails):
    write(tmp_path, 1, tensors(), META)
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

    def fail(*args, **kwargs):
        if fails == "save_file":
            Path(args[1]).write_bytes(b"half")
            raise files.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        raise full

    with monkeypatch.context() as patch:
        if fails == "save_file":
            patch.setattr(files, "save_file", fail)
        elif fails == "fsync":
            patch.setattr(files.os, "fsync", fail)
        else:
            patch.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="No space left") as caught:
            write(tmp_path, 2, tensors(), META)
    assert classify(caught.value)[0] is FailureKind.DISK_FULL
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000000001"]
    assert latest(tmp_path) == step_path(tmp_path, 1)


def test_leftovers_of_dead_writers_are_removed_and_nothing_else(tmp_path):
    write(tmp_path, 1, tensors(), META)
    (tmp_path / ".writing-step-000000002-99").mkdir()
    (tmp_path / ".writing-step-000000002-99" / "state.safetensors").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    assert latest(tmp_path) == step_path(tmp_path, 1)
    clear_leftovers(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["notes.txt", "step-000000001"]


def test_steps_are_numbers_not_text(tmp_path):
    for step in (999_999_999, 1_000_000_000, 2):
        (tmp_path / step_path(tmp_path, step).name).mkdir()
    (tmp_path / "step-x").mkdir()
    assert steps(tmp_path) == [2, 999_999_999, 1_000_000_000]
