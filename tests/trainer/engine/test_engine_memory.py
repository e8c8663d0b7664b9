"""Freed memory stays with a process that trains on the CPU, and is given back after it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from trainer.engine.distributed import Distributed
from trainer.families.table import recipes
from trainer.spec import with_overrides

def allocate():
    for _ in range(12):
        for mib in (40, 3, 90):
            torch.ones(mib, 2**18)

def faults():
    allocate()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    allocate()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
Distributed.create(with_overrides(recipes()["gan-digits"](), ["resources.gpus_per_worker=0"]), world=1)
print(plain, faults())
"""
PAGES = 12 * (40 + 3 + 90) * 256
"""Of 4 KiB, that twelve rounds of it write."""


def plain() -> dict[str, str]:
    """The environment without settings of the allocator."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}


def faults(**environment: str) -> tuple[int, int]:
    """Pages that the operating system hands out while a process repeats its allocations: before it trains, and then."""
    command = [sys.executable, "-c", FAULTS]
    found = subprocess.run(command, env=plain() | environment, check=True, capture_output=True, text=True).stdout
    before, then = map(int, found.split())
    return before, then


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_process_that_trains_on_the_cpu_asks_for_its_memory_once() -> None:
    before, then = faults()
    assert before > PAGES / 2  # what it is about
    assert then < PAGES / 4  # the heap may still grow for once or twice, where something small came to lie in a hole


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_MMAP_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072")]
)
def test_an_allocator_that_the_environment_sets_is_left_as_it_is(name: str, value: str) -> None:
    assert faults(**{name: value})[1] > PAGES / 2


GIVEN_BACK = """
import torch
from trainer.engine.memory import give_back, keep_freed_memory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

assert keep_freed_memory()
pieces = [torch.ones(40, 2**18) for _ in range(4)]
last = torch.ones(1)
del pieces
kept = resident()
give_back()
print(kept - resident())
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_is_given_back_when_it_is_said() -> None:
    found = subprocess.run([sys.executable, "-c", GIVEN_BACK], env=plain(), check=True, capture_output=True, text=True)
    assert int(found.stdout) > 0.9 * 160 * 1024  # KiB
