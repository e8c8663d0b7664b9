"""A spec's operations, run on their own: the same forms, each of them timed, and the plan made of these times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from trainer.families.table import recipes
from trainer.plan.build import Planner, operations
from trainer.plan.calibrate import key, known, stored
from trainer.plan.devices import cpu
from trainer.plan.replay import Call, Like, signature, timed
from trainer.plan.roofline import Calibration, Measured, total
from trainer.plan.study import studied
from trainer.plan.tape import Tape

aten = torch.ops.aten


def bare(**operations: float) -> Calibration:
    """Rates that make everything but timed operations very slow."""
    points = ((1.0, 1.0), (2.0, 1.0))
    return Calibration(
        key=key(), threads=1, convolution={"forward": points, "backward": points}, matmul=points, memory=points,
        overhead={"forward": 0.0, "backward": 0.0}, operations=operations,
    )  # fmt: skip


def test_a_form_is_made_into_a_tensor_of_the_same_shape_strides_and_type() -> None:
    for tensor in (
        torch.ones(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.ones(6, 4).t()[1:],
        torch.ones(3, 1).expand(3, 7),
        torch.tensor(2.0),
        torch.ones(0, 4),
        torch.ones(5, dtype=torch.int64),
    ):
        made = Like(tuple(tensor.shape), tensor.stride(), tensor.dtype).make()
        assert (made.shape, made.stride(), made.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)


def test_a_signature_tells_forms_apart_and_not_values() -> None:
    x, weight = torch.randn(2, 4, 8, 8), torch.randn(4, 4, 3, 3)

    def of(x: Tensor, stride: int = 1) -> str:
        arguments = (x, weight, None, [stride, stride], [1, 1], [1, 1], False, [0, 0], 1)
        return signature(Call.of(aten.convolution.default, arguments, {}))

    assert of(x) == of(torch.randn(2, 4, 8, 8))
    others = [
        of(x, 2),
        of(torch.randn(3, 4, 8, 8)),
        of(x.contiguous(memory_format=torch.channels_last)),
        of(x.double()),
    ]
    assert len({of(x), *others}) == 5
    assert of(x).startswith("aten.convolution.default/")


def test_a_recorded_call_does_the_work_that_was_recorded() -> None:
    x, weight = torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(6, 4, 3, 3, requires_grad=True)
    with Tape(keep_calls=True) as tape:
        conv2d(x, weight, padding=1).sum().backward()  # type: ignore[no-untyped-call]
    by_name = {name.partition("/")[0]: call for name, call in tape.calls.items()}
    assert by_name["aten.convolution.default"].ready()().shape == (2, 6, 8, 8)
    of_x, of_weight, _ = by_name["aten.convolution_backward.default"].ready()()
    assert (of_x.shape, of_weight.shape) == (x.shape, weight.shape)
    assert timed(tape.calls).keys() == tape.calls.keys()
    assert all(seconds > 0 for seconds in timed(tape.calls, 2**20).values())


@pytest.mark.parametrize(
    "recipe",
    ["gan-digits", *(pytest.param(name, marks=pytest.mark.long) for name in ("r3gan-digits", "biggan-digits"))],
)
def test_every_operation_of_a_step_can_be_timed_and_the_plan_is_their_sum(recipe: str) -> None:
    spec = recipes()[recipe]()
    step = operations(spec, world=1)
    assert known(bare(), step).operations.keys() == step.calls.keys()
    rates = Measured(bare(**dict.fromkeys(step.calls, 1e-6)))
    with studied(spec, 1, keep_calls=True, host=True) as study:
        planner = Planner(spec, study, cpu(), rates)
        planner.plan()
        for kind in planner.schedule.updates:
            for section, costs in planner.update(kind, planner.micro(kind.phase)).costs.items():
                assert total({section: costs}, rates, (section,)) == pytest.approx(1e-6 * costs.total())


def test_an_operation_that_was_not_timed_is_planned_by_its_rates() -> None:
    call = Call.of(aten.relu.default, (torch.ones(2**20),), {})
    assert timed({"broken": Call(aten.mm.default, ((Like((2, 3), (3, 1), torch.float32),), {}))}) == {}
    assert list(timed({signature(call): call})) == [signature(call)]


def test_a_convolution_holds_copies_of_its_weight_while_it_runs_on_a_cpu() -> None:
    peaks = {}
    weight = torch.randn(64, 64, 3, 3)
    for name, x in {
        "plain": torch.randn(1, 64, 4, 4),
        "channels_last": torch.randn(1, 64, 4, 4).contiguous(memory_format=torch.channels_last),
    }.items():
        for host in (False, True):
            with Tape(host=host) as tape:
                conv2d(x, weight, padding=1)
            peaks[name, host] = sum(tape.peak.values())
            assert sum(tape.live.values()) == 0
    size = weight.numel() * 4
    assert peaks["channels_last", True] - peaks["channels_last", False] == size
    assert peaks["plain", True] - peaks["plain", False] == size + 64 * 16 * 4


@pytest.mark.long
def test_calibrating_for_a_spec_keeps_its_operations(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "trainer.plan",
        "gan-digits",
        "--calibrate",
        "--cache-dir",
        str(tmp_path),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "operations of this spec timed" in done.stderr
    found = stored(tmp_path)
    assert found is not None
    assert found.operations.keys() == operations(recipes()["gan-digits"](), world=1).calls.keys()
    assert '"calibrated": true' in done.stdout
