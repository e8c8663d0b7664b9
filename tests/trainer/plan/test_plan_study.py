"""A plan counts what the job's own code does: parameters, updates, memory, traffic."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from trainer.engine.distributed import Distributed
from trainer.engine.metrics import Means, Stopwatch
from trainer.engine.state import TrainState
from trainer.engine.step import Stepper
from trainer.families.table import NAMES, family, recipes
from trainer.plan.build import plan
from trainer.plan.devices import cpu, find
from trainer.plan.schedule import Kind, schedule
from trainer.plan.study import studied
from trainer.spec import JobSpec, with_overrides

COUNTS = {
    "biggan-imagenet128": {"G": 70_433_988, "D": 87_982_370},
    "biggan-deep-imagenet128": {"G": 50_244_484, "D": 34_590_210},
}
"""Of the authors' PyTorch code, 1000 classes."""


def smallest() -> dict[str, str]:
    """Family → its recipe that trains on the fewest images."""
    found: dict[str, str] = {}
    for name, recipe in sorted(recipes().items(), key=lambda item: item[1]().train.images):
        found.setdefault(recipe().arch.family, name)
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name == "biggan-deep" else name for name in NAMES]
)
def test_every_family_is_planned_with_its_exact_counts_and_allocates_nothing(name: str) -> None:
    spec = recipes()[smallest()[name]]()
    with torch.device("meta"):
        nets = family(name).build(spec.arch)
    found = plan(spec, world=1, device=cpu(2**40))
    assert {n: p.parameters for n, p in found.players.items()} == {
        n: sum(p.numel() for p in net.parameters()) for n, net in nets.items()
    }
    assert found.flops_per_step > 0
    assert found.time.step > 0
    assert found.verdict.fits
    assert found.memory.total == sum(found.memory.parts.values())


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(COUNTS.keys() & recipes().keys()))
def test_counts_of_the_published_models(name: str) -> None:
    with studied(recipes()[name](), 8) as study:
        assert study.parameters() == COUNTS[name]


def naive(spec: JobSpec) -> dict[str, int]:
    """Updates by phase, counted as the loop runs."""
    counts, images, step = {"D": 0, "G": 0}, 0, 0
    while images < spec.train.images:
        warmup = spec.objective.d_warmup
        d = warmup.d_steps if warmup is not None and warmup.applies(step) else spec.objective.d_steps
        counts["D"] += d
        counts["G"] += 1
        images, step = images + d * spec.train.batch, step + 1
    return {**counts, "steps": step}


def test_updates_are_those_of_the_schedule_with_warmup_and_lazy_penalties() -> None:
    spec = with_overrides(
        recipes()["r3gan-digits"](),
        ["objective.d_steps=3", "objective.d_warmup={d_steps: 7, steps: 4, every: 9}",
         "objective.penalties=[{kind: r1, interval: 4}, {kind: r2}]", "train.images=20000"],
    )  # fmt: skip
    found = schedule(spec, family("r3gan").phases(spec))
    expected = naive(spec)
    assert found.steps == expected["steps"]
    assert sum(n for kind, n in found.updates.items() if kind.phase == "G") == expected["G"]
    assert sum(n for kind, n in found.updates.items() if kind.phase == "D") == expected["D"]
    assert {kind for kind in found.updates if kind.phase == "D"} == {Kind("D", 0), Kind("D", 1)}  # with R1, without


@pytest.mark.long
def test_lazy_penalties_cost_less_and_accumulation_costs_no_flops() -> None:
    base = with_overrides(recipes()["r3gan-digits"](), ["resources.workers=1", "arch.resolution=8"])
    always = plan(base, world=1, device=cpu())
    seldom = plan(
        with_overrides(base, ["objective.penalties=[{kind: r1, interval: 16}, {kind: r2, interval: 16}]"]),
        world=1,
        device=cpu(),
    )
    assert 0.3 * always.phases["D"].flops < seldom.phases["D"].flops < 0.6 * always.phases["D"].flops
    split = plan(with_overrides(base, ["train.micro_batch=16"]), world=1, device=cpu())
    assert split.players["D"].accumulation == 4
    assert split.phases["D"].flops == pytest.approx(always.phases["D"].flops, rel=1e-6)
    assert split.memory.parts["activations"] < 0.3 * always.memory.parts["activations"]


def test_traffic_is_each_players_gradients_once_an_update_for_any_number_of_workers() -> None:
    spec = with_overrides(
        recipes()["r3gan-digits"](),
        ["data.lanes=64", "objective.d_steps=3", "train.micro_batch=1", "arch.resolution=8"],
    )
    found = plan(spec, world=16, device=find("h100"))
    sizes = {name: 4 * player.parameters for name, player in found.players.items()}
    assert found.traffic.gradients == 3 * sizes["D"] + sizes["G"]
    assert found.traffic.statistics == 0
    assert found.memory.parts["buckets"] == sizes["D"] + sizes["G"]
    assert found.time.device_hours == pytest.approx(16 * found.time.hours)


CASES = {
    "weights": ["gan", "arch.g_hidden=3000", "arch.d_hidden=400"],
    "images": ["dcgan-64", "arch.g_width=8", "arch.d_width=8", "train.batch=320"],
    "double backward": ["r3gan-digits", "resources.workers=1", "arch.g_width=32", "arch.d_width=32"],
}
"""What the memory goes to → recipe and overrides."""


@pytest.mark.parametrize(
    "case", ["weights", *(pytest.param(case, marks=pytest.mark.long) for case in CASES if case != "weights")]
)
def test_memory_is_within_a_tenth_of_what_the_engine_really_allocates(case: str) -> None:
    """Two steps of the real engine under torch's profiler, which sees every allocation of tensors."""
    recipe, *assignments = CASES[case]
    spec = with_overrides(recipes()[recipe](), assignments)
    found = plan(spec, world=1, device=cpu(2**40))
    planned = found.memory.total - found.memory.parts["runtime"]
    assert planned > 100 * 2**20, "too small to mean anything"
    assert planned == pytest.approx(measured(spec), rel=0.1)


def measured(spec: JobSpec) -> int:
    """Bytes that torch's CPU allocator had given out at the fullest moment of two steps."""
    distributed = Distributed.create(spec, world=1)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        state = TrainState.create(spec, distributed)
        stepper = Stepper(state, distributed, batches(spec), Means(), Stopwatch())  # type: ignore[arg-type]
        stepper.step()
        stepper.step()
    results = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    live = most = 0
    for event in sorted((e for e in results if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return int(most)


def batches(spec: JobSpec) -> Iterator[SimpleNamespace]:
    shape = (spec.train.batch, spec.arch.channels, spec.arch.resolution, spec.arch.resolution)
    while True:
        yield SimpleNamespace(
            images=torch.randint(0, 256, shape, dtype=torch.uint8),
            labels=torch.zeros(spec.train.batch, dtype=torch.int64),
            replaced=0,
        )
