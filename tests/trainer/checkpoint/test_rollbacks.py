"""The record of roll backs decides which checkpoints are still of the training, wherever a process dies."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.checkpoint import Best, RollBack, RollBacks, healthy_checkpoint, latest, step_path, write
from trainer.checkpoint.keep import Ranked
from trainer.checkpoint.rollbacks import ROLLBACKS_FILE, set_aside
from trainer.errors import CheckpointError


def back(from_step: int, to_step: int, factor: float = 0.5) -> RollBack:
    return RollBack(reason="sick", from_step=from_step, to_step=to_step, to_images=8 * to_step, lr_factor=factor)


def saved(directory, step: int, rollbacks: int = 0) -> None:
    meta = {"clock": {"images": 8 * step}, "extras": {}, "rollbacks": rollbacks}
    write(directory, step, {"x": torch.full((3,), float(step + 1000 * rollbacks))}, meta)


def names(directory) -> set[str]:
    return {entry.name for entry in directory.iterdir() if entry.is_dir()}


def test_what_was_undone_is_set_aside_and_the_newest_of_it_kept(tmp_path):
    for step in (10, 20, 30, 40):
        saved(tmp_path, step)
    record = RollBacks(done=(back(45, 20),))
    set_aside(tmp_path, record)
    once = names(tmp_path)
    assert once == {"step-000000010", "step-000000020", "sick-0-step-000000040"}
    set_aside(tmp_path, record)
    assert names(tmp_path) == once
    saved(tmp_path, 30, rollbacks=1)
    set_aside(tmp_path, record)
    assert latest(tmp_path) == step_path(tmp_path, 30)  # the new step 30 is healthy


def test_a_later_roll_back_undoes_what_an_earlier_one_kept(tmp_path):
    saved(tmp_path, 10)
    saved(tmp_path, 20)
    saved(tmp_path, 30, rollbacks=1)
    set_aside(tmp_path, RollBacks(done=(back(45, 20), back(33, 10))))
    assert names(tmp_path) == {"step-000000010", "sick-0-step-000000020", "sick-1-step-000000030"}


def test_a_best_score_of_undone_steps_is_forgotten_and_another_is_not(tmp_path):
    saved(tmp_path, 10)
    saved(tmp_path, 40)
    Best(step=10, metric="fid", value=1.0).write(tmp_path)
    set_aside(tmp_path, RollBacks(done=(back(45, 20),)))
    assert Best.read(tmp_path) is not None
    saved(tmp_path, 30)
    Best(step=30, metric="fid", value=0.5).write(tmp_path)
    set_aside(tmp_path, RollBacks(done=(back(45, 20),)))
    assert Best.read(tmp_path) is None
    saved(tmp_path, 30)
    Best(step=30, metric="fid", value=0.5, behind=(Ranked(step=10, value=1.0),)).write(tmp_path)
    set_aside(tmp_path, RollBacks(done=(back(45, 20),)))
    assert Best.read(tmp_path) == Best(step=10, metric="fid", value=1.0)


def test_the_newest_healthy_checkpoint_is_undamaged_and_of_this_training(tmp_path):
    for step in (10, 20, 30):
        saved(tmp_path, step)
    empty = RollBacks()
    assert healthy_checkpoint(tmp_path, empty, 29) == (20, 160)
    (step_path(tmp_path, 20) / "state.safetensors").write_bytes(b"")
    assert healthy_checkpoint(tmp_path, empty, 29) == (10, 80)
    assert healthy_checkpoint(tmp_path, empty, 9) == (0, 0)
    assert healthy_checkpoint(tmp_path, RollBacks(done=(back(25, 10),)), 30) == (10, 80)
    assert healthy_checkpoint(tmp_path / "none", empty, 30) == (0, 0)


def test_a_damaged_record_is_an_error_because_guessing_might_resume_a_sick_state(tmp_path):
    assert RollBacks.read(tmp_path) == RollBacks()
    RollBacks(done=(back(9, 3),)).write(tmp_path)
    assert RollBacks.read(tmp_path).done[0].to_step == 3
    (tmp_path / ROLLBACKS_FILE).write_text(json.dumps({"done": [{"reason": "x"}]}))
    with pytest.raises(CheckpointError, match=r"rollbacks\.json is damaged"):
        RollBacks.read(tmp_path)


def test_the_correction_is_the_product_of_the_factors():
    record = RollBacks(done=(back(9, 3, 0.5), back(8, 3, 0.1)))
    assert (record.correction.count, record.correction.lr_factor) == (2, 0.05)
    assert (record.correction_after(1).count, record.correction_after(1).lr_factor) == (1, 0.5)
    assert (RollBacks().correction.count, RollBacks().correction.lr_factor) == (0, 1.0)


@examples(80)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=25))
def test_the_record_keeps_exactly_the_checkpoints_of_the_line_that_leads_to_now(moves):
    """Against a model that forgets undone checkpoints as it goes."""
    step, done, alive, ever = 0, [], set(), set()
    for rolls_back, amount in moves:
        if rolls_back and alive:
            target = max((s for s, _ in alive if s <= step - amount), default=0)
            done.append(back(step, target))
            alive = {(s, g) for s, g in alive if s <= target}
            step = target
        else:
            step += amount
            alive = {(s, g) for s, g in alive if s != step} | {(step, len(done))}
            ever.add((step, len(done)))
    record = RollBacks(done=tuple(done))
    assert {(s, g) for s, g in ever if record.keeps(s, g)} >= alive
    assert {s for s, g in ever if record.keeps(s, g)} == {s for s, _ in alive}
