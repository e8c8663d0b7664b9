"""Writes the tables of docs/scaling.md: BigGAN at its full size on 8 to 512 GPUs, from plans alone. Needs no GPU.

    python -m benchmarks.scaling [--quick]

For each number of GPUs the largest micro-batch that fits is taken, as a plan advises it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Report, arguments
from benchmarks.tables import updated
from trainer.families.table import recipes
from trainer.plan.build import Planner
from trainer.plan.devices import GPUS, Device, placed
from trainer.plan.result import Plan
from trainer.plan.roofline import Table
from trainer.plan.study import Study, studied
from trainer.plan.words import amount, duration, large
from trainer.spec import JobSpec, with_overrides

TARGET = Path(__file__).parent.parent / "docs" / "scaling.md"
RECIPES = ("biggan-imagenet128", "biggan-imagenet256", "biggan-imagenet512")
WORLDS = (8, 16, 32, 64, 128, 256, 512)
DEVICES = ("h100", "a100-80")
QUICK = ("dcgan-64",)
PUBLIC = "biggan-imagenet128", "v100", 8
"""What is known of the authors' PyTorch code: 150 000 iterations of batch 2048 in 15 days on 8 V100, in float32."""


def scaled(base: JobSpec, study: Study, world: int, device: Device) -> Plan:
    """The plan on so many workers with the largest micro-batch that fits."""
    spec = placed(base, world, device)
    found = Planner(spec, study.at(spec, world), device, Table(device)).plan()
    if found.verdict.fits or found.verdict.micro_batch is None:
        return found
    spec = with_overrides(spec, [f"train.micro_batch={json.dumps(found.verdict.micro_batch)}"])
    return Planner(spec, study.at(spec, world), device, Table(device)).plan()


def whole(recipe: str, precision: str) -> JobSpec:
    """The recipe without accumulation."""
    return with_overrides(recipes()[recipe](), ["train.micro_batch=null", f"train.precision={precision}"])


def row(found: Plan, base: float) -> list[str]:
    """A line of the table. base: GPU-hours of the smallest number of GPUs."""
    micro = ", ".join(f"{name} {player.micro_batch} × {player.accumulation}" for name, player in found.players.items())
    return [
        str(found.workers), str(found.local_batch), micro, amount(found.memory.total),
        amount(found.traffic.gradients + found.traffic.statistics), duration(found.time.step),
        f"{found.time.images_per_second:,.0f}", duration(found.time.hours * 3600), f"{found.time.device_hours:,.0f}",
        f"{base / found.time.device_hours:.0%}",
    ]  # fmt: skip


COLUMNS = (
    "GPUs", "images a GPU", "micro-batch × passes", "memory a GPU", "all-reduced a step", "step", "images/s", "to the end",
    "GPU-hours", "efficiency",
)  # fmt: skip


def sections(recipe: str, devices: tuple[str, ...], worlds: tuple[int, ...], report: Report) -> Iterator[str]:
    """A table of one recipe for each device."""
    base = whole(recipe, "bf16")
    fitting = [world for world in worlds if base.data.lanes % world == 0]
    with studied(base, fitting[0]) as study:
        for device in (GPUS[name] for name in devices):
            plans = [scaled(base, study, world, device) for world in fitting]
            for found in plans:
                report.row(recipe=recipe, device=device.name, **_figures(found))
            yield _table(recipe, device, plans)


def _table(recipe: str, device: Device, plans: list[Plan]) -> str:
    first = plans[0]
    sizes = ", ".join(f"{name} {player.parameters:,}" for name, player in first.players.items())
    work = f"{large(first.flops_per_step, 'FLOP')} a step, {first.time.steps:,} steps"
    title = f"### {recipe} on {device.title}\n\nParameters: {sizes}. Batch {first.batch}, bf16, {work}.\n"
    lines = ["| " + " | ".join(row(found, first.time.device_hours)) + " |" for found in plans]
    return "\n".join([title, "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS), *lines, ""])


def _figures(found: Plan) -> dict[str, float | int | str | None]:
    return {
        "gpus": found.workers, "local_batch": found.local_batch, "micro_batch": json.dumps(found.verdict.micro_batch),
        "memory_bytes": found.memory.total, "flops_per_step": found.flops_per_step, "step_seconds": found.time.step,
        "hidden_not_seconds": found.time.communication, "gpu_hours": found.time.device_hours,
    }  # fmt: skip


def public(report: Report) -> str:
    """The one public figure that a plan can be held against."""
    recipe, device, world = PUBLIC
    if recipe not in recipes():
        return ""
    base = whole(recipe, "fp32")
    with studied(base, world) as study:
        found = scaled(base, study, world, GPUS[device])
    days = found.time.step * 150_000 / 86400
    report.row(recipe=recipe, device=device, days_of_150k_steps=days, **_figures(found))
    text = (
        "The authors' PyTorch code took 15 days for 150 000 iterations of batch 2048 on 8 V100. A plan of this code there, in "
        f"float32: {days:.1f} days ({duration(found.time.step)} a step); its blocks do less work ([families](families.md#biggan))."
    )
    return "\n" + textwrap.fill(text, 120) + "\n"


def main() -> int:
    """Plan everything and write the page."""
    options = arguments("scaling", "The scaling table of docs/scaling.md.").parse_args()
    report = Report("scaling", options)
    names = QUICK if options.quick else tuple(name for name in RECIPES if name in recipes())
    worlds, devices = (WORLDS[:2], DEVICES[:1]) if options.quick else (WORLDS, DEVICES)
    tables = [table for name in names for table in sections(name, devices, worlds, report)]
    if options.quick:
        print("\n".join(tables))
    else:
        drawn = "\n".join(tables) + public(report)
        TARGET.write_text(updated(TARGET.read_text(), f"\n{drawn}", "scaling"))
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
