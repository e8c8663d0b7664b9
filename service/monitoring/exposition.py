"""The text that Prometheus reads: what this process counted, and what was found out for this answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service import tallies
from service.monitoring.facts import Facts


@dataclass(frozen=True, eq=False)
class Found(Collector):
    """What was found out. What nobody could tell is left out, so that a board shows a gap and not a zero."""

    facts: Facts | None = None
    """None: the database is too busy to answer."""
    ray_up: bool = False
    disk: Mapping[str, float] = field(default_factory=dict)
    """Bytes by what they are: `total`, `free`, and what takes how much, as far as it has been counted."""

    def collect(self) -> Iterator[Metric]:
        """Its metrics."""
        yield _one("agon_build_info", "The version that runs.", {"version": version("agon")}, 1.0)
        yield _one("agon_ray_up", "Whether Ray answers.", {}, float(self.ray_up))
        disk = GaugeMetricFamily("agon_disk_bytes", "Of the disk that runs lie on.", labels=["what"])
        for what, size in self.disk.items():
            disk.add_metric([what], size)
        yield disk
        if self.facts is not None:
            yield from _of_runs(self.facts)


def _of_runs(facts: Facts) -> Iterator[Metric]:
    runs = GaugeMetricFamily("agon_jobs", "Jobs and searches that there are.", labels=["kind", "state"])
    for (kind, state), count in facts.runs.items():
        runs.add_metric([kind, state], count)
    yield runs
    waits = "For how long the run has waited that has waited longest; 0: none waits."
    yield _one("agon_job_waiting_age_seconds_max", waits, {}, facts.waiting_age)
    yield _one("agon_events_unacked", "Events that wait for an earlier one.", {}, facts.unacked)
    used = CounterMetricFamily(
        "agon_job_accelerator_seconds", "For which runs have held a GPU, deleted ones too.", labels=["owner"]
    )
    for owner, seconds in facts.accelerator_seconds.items():
        used.add_metric([owner], seconds)
    yield used
    kept = GaugeMetricFamily(
        "agon_serve_replicas", "Replicas that have a place on the cluster to answer questions.", labels=["application"]
    )
    for name, replicas in facts.served.items():
        kept.add_metric([name], replicas)
    yield kept


def _one(name: str, help_: str, labels: Mapping[str, str], value: float) -> Metric:
    metric = GaugeMetricFamily(name, help_, labels=list(labels))
    metric.add_metric(list(labels.values()), value)
    return metric


def exposition(found: Found) -> bytes:
    """All of it."""
    registry = CollectorRegistry()
    for collector in (*tallies.EVERY, found):
        registry.register(collector)
    return generate_latest(registry)
