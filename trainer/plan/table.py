"""A plan as a person reads it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainer.plan.result import Plan
from trainer.plan.words import amount, duration, large

COLOURS = {True: "bold green", False: "bold red", None: "bold yellow"}


def render(plan: Plan) -> RenderableType:
    """Players, phases, memory by part, traffic and time, then the verdict."""
    head = Text.assemble(
        (plan.name, "bold"),
        f" ({plan.family}) on {plan.workers} × {plan.title}, batch {plan.batch} ({plan.local_batch} a worker)",
    )
    return Group(head, "", _players(plan), "", _phases(plan), "", _memory(plan), "", _rest(plan), "", _verdict(plan))


def _players(plan: Plan) -> Table:
    table = _table("player", "parameters", "micro-batch", "passes an update")
    for name, player in plan.players.items():
        table.add_row(name, f"{player.parameters:,}", str(player.micro_batch), str(player.accumulation))
    return table


def _phases(plan: Plan) -> Table:
    table = _table("phase", "a step", "an update", "memory", "an update takes")
    for name, phase in plan.phases.items():
        times = f"{phase.updates_per_step:.4g} ×"
        table.add_row(name, times, large(phase.flops, "FLOP"), amount(phase.memory), duration(phase.seconds))
    return table


def _memory(plan: Plan) -> Table:
    memory = plan.memory
    table = _table(f"memory of a worker, fullest in phase {memory.phase}", "", "share")
    for part, size in memory.parts.items():
        if size:
            table.add_row(part, amount(size), f"{size / memory.total:.0%}")
    capacity = f"of {amount(memory.capacity)}" if memory.capacity else ""
    table.add_row(Text("in all", "bold"), Text(amount(memory.total), "bold"), capacity)
    return table


def _rest(plan: Plan) -> Table:
    traffic, time = plan.traffic, plan.time
    table = _table("a step", "")
    table.add_row("FLOPs, all workers", large(plan.flops_per_step, "FLOP"))
    if plan.workers > 1:
        table.add_row("all-reduced by a worker: gradients", amount(traffic.gradients))
        table.add_row(f"  batch statistics ({traffic.calls:.0f} calls)", amount(traffic.statistics))
    rates = "calibrated" if time.calibrated else "estimated"
    table.add_row(f"time ({rates})", duration(time.step))
    if plan.workers > 1:
        table.add_row("  of it communication that nothing hides", duration(time.communication))
    table.add_row("real images a second", f"{time.images_per_second:,.4g}")
    table.add_row(f"to train.images ({time.steps:,} steps)", duration(time.hours * 3600))
    unit = "GPU-hours" if plan.device != "cpu" else "worker-hours"
    table.add_row(unit, f"{time.device_hours:,.4g}")
    return table


def _verdict(plan: Plan) -> Text:
    text = Text(plan.verdict.text, COLOURS[plan.verdict.fits])
    for line in plan.assumptions:
        text.append(f"\n  assumed: {line}", "dim")
    return text


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table
