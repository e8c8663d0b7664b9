"""Plans in a child process, for those that have no torch: the control plane, and a job's driver. Torch-free."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

from pydantic import ValidationError

from trainer.plan.devices import Device
from trainer.plan.result import Plan
from trainer.spec import FieldError, JobSpec, SpecError


class PlanFailedError(Exception):
    """The child ended without a plan; a bug of ours, or no memory for it."""


def plan_in_child(
    spec: JobSpec,
    *,
    world: int,
    device: Device,
    seconds: float,
    started: Callable[[subprocess.Popen[str]], object] = lambda process: None,
) -> Plan:
    """`trainer.plan.build.plan` in a process of its own, which is ended after so many seconds.

    started: told of the process, so that others can end it.
    Raises SpecError if the spec can't run on so many workers, TimeoutError, PlanFailedError.
    """
    command = [sys.executable, "-m", "trainer.plan", "-", "--json", "--gpus", str(world), "--gpu", device.name]
    command += ["--memory", str(device.memory)] if device.memory else []
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        started(process)
        try:
            found, complaint = process.communicate(spec.model_dump_json(), timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise TimeoutError(f"no plan after {seconds:g} s") from None
    return _read(process.returncode, found, complaint)


def _read(code: int, found: str, complaint: str) -> Plan:
    try:
        if code == 0:
            return Plan.model_validate_json(found)
        errors = [FieldError.model_validate(error) for error in json.loads(found)["errors"]]
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        last = complaint.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise PlanFailedError(last[0]) from error
    raise SpecError(errors)
