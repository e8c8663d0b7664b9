"""Imported by every Ray worker process at its start, where `ray start` was given RAY_preload_python_modules=trainer.launch.preload.

A process that was started ahead of any job, in the environment of a training (`warm`), imports what training needs
before it takes work. Other processes import nothing: they have work to do already.
"""

from __future__ import annotations

import contextlib
import os
from importlib import import_module

MODULES = ("trainer.launch.ray_train", "torch._dynamo", "trainer.launch.compose")
"""What a worker imports until its first step. `torch._dynamo` is imported by the first optimiser step."""
MARK = "AGON_TRAIN_WORKER"
"""Environment variable of a training's processes."""
NO_JOB = "ffffffff"
"""Ray's job id of a process that belongs to no job yet."""


def preload() -> None:
    """Import `MODULES`; one that fails is left to whoever needs it, and to the error it then gets."""
    for name in MODULES:
        with contextlib.suppress(Exception):
            import_module(name)


if MARK in os.environ and os.environ.get("RAY_JOB_ID") == NO_JOB:
    preload()
