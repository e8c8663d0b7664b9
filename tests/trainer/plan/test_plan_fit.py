"""The micro-batch that is advised is the largest that fits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.families.table import recipes
from trainer.plan.build import plan
from trainer.plan.child import plan_in_child
from trainer.plan.devices import ACCELERATOR_TYPES, GIB, GPUS, MIB, cpu, find
from trainer.plan.fit import divisors, largest
from trainer.plan.preflight import at_most, needs_plan, place, refusal
from trainer.plan.roofline import all_reduce, at
from trainer.plan.words import amount, duration, large
from trainer.spec import Resources, SpecError, with_overrides


@given(
    local=st.integers(1, 4096), fixed=st.integers(0, 1000), each=st.integers(1, 1000), bend=st.integers(0, 500),
    usable=st.integers(0, 2_000_000), data=st.data(),
)  # fmt: skip
def test_the_largest_divisor_that_fits_is_found_also_where_memory_bends(
    local: int, fixed: int, each: int, bend: int, usable: int, data: st.DataObject
) -> None:
    def memory(micro: int) -> int:
        return max(fixed + each * micro, bend * 10)  # a part that doesn't grow may be the fullest moment

    known = data.draw(st.sampled_from(divisors(local)))
    fitting = [d for d in range(1, local + 1) if local % d == 0 and memory(d) <= usable]
    assert largest(local, usable, memory, known) == max(fitting, default=None)


@pytest.mark.parametrize("known", [1, 2])
def test_a_micro_batch_that_fits_to_the_byte_is_found_though_the_line_is_above_it(known: int) -> None:
    assert largest(158, 553, lambda micro: max(7 * micro, 10 * known), known) == 79


def test_few_evaluations_suffice_where_memory_is_a_line() -> None:
    asked: list[int] = []

    def memory(micro: int) -> int:
        asked.append(micro)
        return 1000 + 10 * micro

    assert largest(2048, 3000, memory, 2048) == 128
    assert len(set(asked)) <= 3


def test_a_job_that_does_not_fit_is_told_what_would_and_that_does() -> None:
    spec = with_overrides(recipes()["dcgan-digits"](), ["train.batch=4096", "resources.workers=1"])
    small = cpu(900 * MIB)
    found = plan(spec, world=1, device=small)
    assert found.verdict.fits is False
    assert found.verdict.micro_batch is not None
    error = refusal(found)
    assert error is not None
    assert error.path == "train.micro_batch"
    again = plan(
        with_overrides(spec, [f"train.micro_batch={json.dumps(found.verdict.micro_batch)}"]), world=1, device=small
    )
    assert again.verdict.fits
    assert again.verdict.micro_batch == found.verdict.micro_batch
    assert refusal(again) is None
    hopeless = plan(spec, world=1, device=cpu(641 * MIB))
    assert hopeless.verdict.fits is False
    assert hopeless.verdict.micro_batch is None
    assert "not even one image" in hopeless.verdict.text


@pytest.mark.long
def test_a_child_without_torch_in_its_parent_gives_the_same_plan_and_the_same_errors() -> None:
    spec = recipes()["gan-digits"]()
    found = plan_in_child(spec, world=2, device=find("l4"), seconds=250)
    assert found == plan(spec, world=2, device=find("l4"))
    with pytest.raises(SpecError, match=r"data\.lanes"):
        plan_in_child(spec, world=7, device=find("l4"), seconds=250)  # says so before it imports torch
    with pytest.raises(TimeoutError):
        plan_in_child(spec, world=2, device=find("l4"), seconds=0.01)


def test_the_parts_that_the_control_plane_imports_load_no_torch() -> None:
    code = "import sys, trainer.plan.child, trainer.plan.preflight; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_the_largest_device_that_a_job_may_get_is_what_counts() -> None:
    gpu = Resources(gpus_per_worker=1)
    h100 = {"CPU": 8.0, "GPU": 8.0, "accelerator_type:H100": 1.0}
    v100 = {"CPU": 8.0, "GPU": 8.0, "accelerator_type:V100": 1.0}
    assert place(gpu, [v100, h100, {"CPU": 64.0}]) == GPUS["h100"]
    assert place(gpu, [v100, {"GPU": 1.0}]) is None, "an unknown GPU may be larger"
    assert place(gpu, [{"CPU": 4.0, "memory": 1e9}]) is None
    two = Resources(workers=2)
    assert place(two, [{"memory": 8.0 * GIB}, {"memory": 2.0 * GIB}]) == cpu(5 * GIB)
    assert place(Resources(), [{"memory": 8.0 * GIB}, {"memory": 2.0 * GIB}]) == cpu(8 * GIB)
    assert place(two, [{"CPU": 2.0}]) is None
    assert set(ACCELERATOR_TYPES.values()) <= set(GPUS)


def test_small_jobs_need_no_plan_and_large_ones_do() -> None:
    assert not needs_plan(recipes()["dcgan-digits"]()), "not even the cluster is asked"
    for name in ("gan-digits", "dcgan-digits", "r3gan-digits", "infogan-digits"):
        assert not needs_plan(recipes()[name](), cpu(8 * GIB)), name
    large_one = with_overrides(recipes()["dcgan-digits"](), ["train.batch=1000000"])
    assert needs_plan(large_one)
    assert needs_plan(large_one, cpu(16 * GIB))
    assert at_most(large_one) > at_most(recipes()["dcgan-digits"]())


def test_a_ring_moves_each_byte_twice_and_more_nodes_are_slower() -> None:
    h100 = find("h100")
    assert all_reduce(h100, 1, 1e9) == 0
    assert all_reduce(h100, 8, 1e9, 0) == pytest.approx(2 * 7 / 8 * 1e9 / (h100.link * 0.7))
    assert all_reduce(h100, 64, 1e9, 0) > all_reduce(h100, 8, 1e9, 0)


def test_rates_are_read_off_between_the_points_and_held_outside() -> None:
    points = ((4.0, 10.0), (16.0, 30.0))
    assert [at(points, size) for size in (1, 4, 8, 16, 100)] == [10, 10, 20, 30, 30]


def test_amounts_read_well() -> None:
    assert [amount(x) for x in (12, 5.3 * 2**20, 812 * 2**20, 12.4 * 2**30)] == [
        "12 B",
        "5.3 MiB",
        "812 MiB",
        "12.4 GiB",
    ]
    assert [large(x, "FLOP") for x in (999, 1.234e12)] == ["999 FLOP", "1.23 TFLOP"]
    assert [duration(x) for x in (0.012, 3.4, 1500, 27000, 1036800)] == ["12 ms", "3.4 s", "25 min", "7.5 h", "12 days"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.plan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    lanes = run("gan-digits", "--gpus", "7", "--gpu", "a100-80", "--json")
    assert lanes.returncode == 2
    assert json.loads(lanes.stdout)["errors"][0]["path"] == "resources.workers"
    missing = run(str(tmp_path / "none.yaml"))
    assert missing.returncode == 2
    assert "neither a file nor a recipe" in missing.stderr
    wrong = run("gan-digits", "--gpu", "b9000")
    assert wrong.returncode == 2
    assert "there are h100" in wrong.stderr
