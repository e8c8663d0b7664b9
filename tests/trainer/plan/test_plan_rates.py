"""Rates: a GPU's from its data sheet, a CPU's as measured on this machine; a measurement of another machine is not used."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.plan.calibrate import key, store, stored
from trainer.plan.costs import Cost
from trainer.plan.devices import GPUS, find
from trainer.plan.roofline import COMPUTE_SHARE, LAUNCH, MEMORY_SHARE, Calibration, Measured, Table, total


def calibration(name: str) -> Calibration:
    return Calibration(
        key=name,
        threads=2,
        convolution={"forward": ((4.0, 1e9), (64.0, 5e9)), "backward": ((4.0, 5e8), (64.0, 2e9))},
        matmul=((1.0, 1e9), (1024.0, 1e10)),
        memory=((1e5, 1e10), (1e8, 2e9)),
        overhead={"forward": 1e-6, "backward": 2e-6},
    )


def test_an_operation_takes_the_longer_of_its_arithmetic_and_its_bytes() -> None:
    sheet = Table(find("h100"))
    large = Cost("convolution", 10**13, 10**6, "bfloat16", 256)
    assert sheet.seconds(large, "forward") == pytest.approx(1e13 / (989.4e12 * COMPUTE_SHARE["bf16"]))
    assert sheet.seconds(Cost("other", 0, 10**9, "float32"), "forward") == pytest.approx(1e9 / (3352e9 * MEMORY_SHARE))
    assert sheet.seconds(Cost("other", 0, 8, "float32"), "forward") == LAUNCH
    # In float32, convolutions use TF32 and matrix products don't.
    matmul, convolution = (Cost(kind, 10**13, 8, "float32", 256) for kind in ("matmul", "convolution"))
    assert sheet.seconds(matmul, "forward") > 4 * sheet.seconds(convolution, "forward")
    assert Table(find("v100")).seconds(large, "forward") == pytest.approx(1e13 / (15.7e12 * COMPUTE_SHARE["fp32"]))


def test_a_calibrated_cpu_reads_its_own_rates() -> None:
    rates = Measured(calibration("x"))
    assert rates.calibrated
    convolution = Cost("convolution", 10**9, 8, "float32", 64)
    assert rates.seconds(convolution, "forward") == pytest.approx(0.2, rel=1e-4)
    assert rates.seconds(convolution, "backward") == pytest.approx(0.5, rel=1e-4)
    assert rates.seconds(Cost("other", 0, 10**8, "float32"), "update") == pytest.approx(0.05, rel=1e-4)
    twice = total({"forward": {convolution: 2}, "update": {convolution: 5}}, rates, ("forward",))
    assert twice == pytest.approx(0.4, rel=1e-4)


def test_a_calibration_is_kept_for_this_machine_alone(tmp_path: Path) -> None:
    assert stored(tmp_path) is None
    store(calibration(key()), tmp_path)
    assert stored(tmp_path) == calibration(key())
    store(calibration("another"), tmp_path)
    assert stored(tmp_path) is None


def test_devices_hold_less_than_their_names_say_and_leave_room_for_the_runtime() -> None:
    for device in GPUS.values():
        gigabytes = int(device.title.split()[-2])
        assert 0.9 * gigabytes * 1e9 < device.memory < 1.08 * gigabytes * 1e9, device.name
        assert 0 < device.usable < device.memory
