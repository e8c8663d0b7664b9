"""`python -m benchmarks.serving`: what asking a model over HTTP costs, against the same package called in a process.

Starts a stack of its own on free ports (Ray, MLflow, API) and asks through the API, as anybody does. One run: cold start, latency of
one image, images a second of 1, 16 and 64 clients beside those of one process with as many threads, memory, and the way to
no replica and back.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import Report, arguments
from benchmarks.serving.packages import NETS, QUICK, facts, make, register
from benchmarks.serving.world import World, inside
from trainer.publish.portable.generator import Generator

CLIENTS = (1, 16, 64)
SLOW = {"biggan": (1, 16)}
"""Of a net whose images take seconds: a round of 64 of them takes longer than an answer may."""
IDLE_SECONDS = 15
THREADS = 1
"""Of a replica (serve.cpus), and of the process beside it."""


def main() -> int:
    """0 if all targets hold."""
    parser = arguments("serving", __doc__ or "")
    parser.add_argument("--seconds", type=float, help="length of each load (default: 20; 2 with --quick)")
    options = parser.parse_args()
    report, nets = Report("serving", options), QUICK if options.quick else NETS
    seconds = options.seconds or (2.0 if options.quick else 20.0)
    settings = {
        "AGON_SERVE_CPUS": str(THREADS),
        "AGON_SERVE_IDLE_SECONDS": str(IDLE_SECONDS),
        "AGON_SERVE_WAITING": "256",
        "AGON_SERVE_SECONDS": "300",
    }
    with World(settings) as world:
        packages = {}
        for name, (recipe, changes) in nets.items():
            packages[name] = make(name, recipe, changes, world.folder, options.seed)
            register(name, packages[name], world.record.parts["mlflow"].url)
        _cold(report, world, packages)
        for name, package in packages.items():
            _overhead(report, world, name, package, options.seed, seconds)
        for name, package in packages.items():
            _throughput(report, world, name, package, options.seed, seconds)
        _zero(report, world)
    report.note(
        "clients, API, proxy and replica share the machine's cores; the process that is compared with has as many threads as the replica"
    )
    return report.finish()


def _cold(report: Report, world: World, packages: dict[str, Path]) -> None:
    """From nothing to the first answer, then the first answers of other models; and what it takes of memory."""
    first, *others = packages
    took, asked = world.first(first)
    report.row(start="nothing runs: Serve, replica and model start", model=first, seconds=round(took, 1), asked=asked)
    report.row(memory="one small model loaded", **_memory(world))
    for name in others:
        took, asked = world.first(name)
        report.row(start="a replica runs: the model is loaded", model=name, seconds=round(took, 1), asked=asked)
    report.row(memory="all loaded", **_memory(world))


def _memory(world: World) -> dict[str, float]:
    found = world.memory()
    return {f"{part}_mb": found.get(part, 0.0) for part in ("controller", "proxy", "replica")}


def _overhead(report: Report, world: World, name: str, package: Path, seed: int, seconds: float) -> None:
    """One image at a time, by version and by alias, and in a process, in turns."""
    found: dict[str, list[float]] = {"process": [], "version": [], "alias": []}
    for turn in range(3):
        found["process"] += inside(package, 1, seconds / 6, THREADS, seed + turn)["seconds"]
        found["version"] += world.clients(f"{name}/1", 1, 1, seconds / 6, seed + turn)["seconds"]
        found["alias"] += world.clients(name, 1, 1, seconds / 6, seed + turn)["seconds"]
    ms = {
        who: {f"p{q}": round(1e3 * float(np.percentile(took, q)), 2) for q in (50, 99)} for who, took in found.items()
    }
    for who, latency in ms.items():
        words = "one image, in a process" if who == "process" else f"one image, asked by {who}"
        figures = {"p50_ms": latency["p50"], "p99_ms": latency["p99"], "count": len(found[who])}
        report.row(latency=words, model=name, **facts(package), **figures)
    for who in ("version", "alias"):
        extra = ms[who]["p50"] - ms["process"]["p50"]
        report.at_most(f"{name}, one client: p50 over a process, by {who}", 10.0, measured=round(extra, 2), unit="ms")


def _throughput(report: Report, world: World, name: str, package: Path, seed: int, seconds: float) -> None:
    """Images a second; each question is for `n`."""
    n = 16 if facts(package)["resolution"] != 128 else 1
    crowds = CLIENTS if n > 1 else SLOW.get(name, CLIENTS)
    rates: dict[int | str, list[float]] = {"process": [], **{clients: [] for clients in crowds}}
    others, wrong = 0, ""
    for turn in range(2):
        alone = inside(package, n, seconds / 2, THREADS, seed)
        rates["process"].append(n * len(alone["seconds"]) / alone["whole"])
        for clients in crowds:
            told = world.clients(f"{name}/1", n, clients, seconds / 2, seed)
            rates[clients].append(n * len(told["seconds"]) / told["whole"])
            others += _others(package, n, told["images"])
            wrong = " ".join(f"{status}: {count}" for status, count in told["wrong"].items())
            row = {"p50_ms": 0.0, "p99_ms": 0.0}
            if told["seconds"]:
                row = {f"p{q}_ms": round(1e3 * float(np.percentile(told["seconds"], q)), 1) for q in (50, 99)}
            report.row(load=name, turn=turn, clients=clients, n=n, images_per_s=round(rates[clients][-1], 1), **row, wrong=wrong)  # fmt: skip
        report.row(alone=name, turn=turn, n=n, images_per_s=round(rates["process"][-1], 1))
    share = median(rates[16]) / median(rates["process"])
    if name == "biggan":
        report.at_least(f"{name}, 16 clients: images/s against a process", 0.8, measured=round(share, 3))
    report.row(share=name, clients=16, n=n, of_a_process=round(share, 3))
    report.equal(f"{name}: answers with another's images", 0, measured=others)


def _others(package: Path, n: int, images: dict[str, Any]) -> int:
    """Answers that are not the package's images of their seed, to within one level."""
    if not images:
        return 0
    generator = Generator(package)
    wrong = 0
    for seed, given in images.items():
        expected = generator.sample(n, int(seed)).astype(np.int16)
        wrong += int(np.abs(expected - np.array(given, np.int16)).max() > 1)
    return wrong


def _zero(report: Report, world: World) -> None:
    """Nobody asks: the replica goes, its place is free; a question brings it back."""
    took = world.until(lambda: "replica" not in world.memory(), "the replica's end")
    report.row(scale="to no replica, without a question", seconds=round(took, 1), idle_seconds=IDLE_SECONDS)
    with world.client() as client:
        took = world.until(lambda: not any(one.cpus for one in client.serving().applications), "a free place")
        report.row(scale="and its place is free after", seconds=round(took, 1), idle_seconds=IDLE_SECONDS)
        report.row(memory="no replica", **_memory(world))
        took, _ = world.first("small")
        report.row(scale="back from no replica to an answer", seconds=round(took, 1), idle_seconds=IDLE_SECONDS)
        client.stop_serving()
        took = world.until(lambda: not world.memory(), "Serve's end")
        report.row(scale="stopped: all of Serve is gone", seconds=round(took, 1), idle_seconds=IDLE_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
